"""How the service and its data are: reads snapshot and storage, gives health and freshness."""

from __future__ import annotations

import time
from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from ami_api.answers import Made, Question
from ami_api.freshness import (
    ANALYTICS_OBJECTIVE,
    STREAMING_OBJECTIVE,
    Heard,
    heard_poles,
    limit_of,
    newest_by_pole,
    stale_hops,
)
from ami_api.metrics import MEDIA_TYPE, Metrics
from ami_api.models import Freshness, Health, PoleFreshness, Ready
from ami_api.parameters import Answers, described, refusals
from ami_api.problems import Refused
from ami_store.serving import LastHeard
from ami_store.statements import METERS_IN_SERVICE, POLES_HEARD

router = APIRouter(tags=["status"])

# Looking through the storage costs; answers share a look for so long.
_LOOK_S = 5


@router.get(
    "/health",
    response_model=Health,
    responses={key: value for key, value in refusals().items() if key in (400, 413, 429, 500)},
    operation_id="health",
)
async def health() -> Response:
    """Whether the process is alive. Asks nothing of the warehouse and wants no key."""
    return Response(b'{"status":"ok"}', media_type="application/json", headers=_FRESH)


_FRESH = {"Cache-Control": "no-store"}


@router.get(
    "/ready",
    response_model=Ready,
    responses=refusals("not-ready", "warehouse-absent", "warehouse-empty"),
    operation_id="ready",
)
async def ready(request: Request, answers: Answers) -> Response:
    """Whether a warehouse is attached, holds readings and is as new as AMI_API_READY_MAX_AGE_S.

    Wants no key.
    """
    now: datetime = request.app.state.now()
    most_age_s: float = request.app.state.ready_max_age_s
    with answers.warehouse.lease() as snapshot:
        facts = await answers.run(lambda: answers.facts(snapshot))
        age_s = (now - snapshot.published_at).total_seconds()
        if most_age_s and age_s > most_age_s:
            raise Refused(
                "not-ready",
                f"the published warehouse is {age_s:.0f} s old, more than {most_age_s:g} s; see "
                "that the builds run",
            )
        found = Ready(
            snapshot_id=snapshot.id,
            published_at=snapshot.published_at,
            published_age_s=age_s,
            newest_event_ts=facts.newest,
            newest_event_age_s=(now - facts.newest).total_seconds(),
        )
    return Response(found.model_dump_json(), media_type="application/json", headers=_FRESH)


@router.get(
    "/freshness",
    response_model=Freshness,
    responses=described(revalidates=False),
    operation_id="freshness",
)
async def freshness(request: Request, answers: Answers) -> Response:
    """How new readings and marts are, pole by pole, and which hop is stale.

    At most five seconds old. CSV: a row per pole.
    """
    now: datetime = request.app.state.now()
    heard_last: LastHeard | None = request.app.state.heard_last

    def make(question: Question) -> Made:
        meters = {
            row["meter_id"]: Heard(
                row["pole_id"], row["last_seen_ts"], limit_of(row["sample_interval_ms"])
            )
            for row in question.rows(METERS_IN_SERVICE, start=now)
        }
        landed = None
        if heard_last is not None:
            landed = heard_last(now, frozenset(meters))
            for meter_id, (pole_id, event_ts) in landed.items():
                known = meters.get(meter_id, Heard(pole_id, None))
                if known.newest is None or event_ts > known.newest:
                    meters[meter_id] = Heard(pole_id, event_ts, known.limit)
        newest = question.facts.newest
        landed_newest = None
        if landed is not None:
            landed_newest = max([newest, *(event_ts for _, event_ts in landed.values())])
        by_pole, heard = newest_by_pole(meters), heard_poles(meters, now)
        poles = [
            PoleFreshness(
                pole_id=row["pole_id"],
                feeder_id=row["feeder_id"],
                newest_event_ts=(at := by_pole.get(row["pole_id"])),
                age_s=(now - at).total_seconds() if at else None,
                is_fresh=row["pole_id"] in heard,
            )
            for row in question.rows(POLES_HEARD)
        ]
        answer = Freshness(
            at=now,
            streaming_objective_s=STREAMING_OBJECTIVE.total_seconds(),
            analytics_objective_s=ANALYTICS_OBJECTIVE.total_seconds(),
            landed_newest_event_ts=landed_newest,
            marts_newest_event_ts=newest,
            published_at=question.snapshot.published_at,
            published_age_s=(now - question.snapshot.published_at).total_seconds(),
            stale=stale_hops(meters, landed_newest, newest, now),
            poles=poles,
        )
        return Made(answer, poles, PoleFreshness)

    look = str(int(time.monotonic() // _LOOK_S))
    return await answers.give(request, {}, make, volatile=look, revalidates=False)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **{key: value for key, value in refusals().items() if key in (400, 401, 413, 429, 500)},
    },
    operation_id="metrics",
)
async def metrics(request: Request, answers: Answers) -> Response:
    """What the service counts, for Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(answers.cache.held_bytes), media_type=MEDIA_TYPE, headers=_FRESH)
