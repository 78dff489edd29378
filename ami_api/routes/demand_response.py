"""Demand response: reads called events and dbt's table functions, gives sheds and their accuracy.

The formulas are those of the marts: dbt publishes them as functions of a window, which are asked
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from ami_api.answers import Facts, Made, Question
from ami_api.models import (
    Accuracy,
    Adjustment,
    DrEvent,
    DrEvents,
    DrEventTotal,
    DrInterval,
    DrPole,
    DrRequest,
    DrResult,
    DrTotal,
    Gate,
    Gates,
    Method,
    Window,
)
from ami_api.parameters import Answers, Cursor, CursorText, cursor_of, described
from ami_api.problems import Refused
from ami_api.times import DAY, SLOT, floor_to
from ami_store.serving import Row
from ami_store.statements import DR_ACCURACY, DR_EVENTS, DR_WINDOW

router = APIRouter(prefix="/dr", tags=["demand response"])

LONGEST: Final = DAY
_MOST_NAMED: Final = 10


@router.post(
    "/compute",
    response_model=DrResult,
    responses=described(
        "window",
        "unknown-poles",
        "window-in-future",
        "no-history",
        "not-built",
        "unsupported-media-type",
        revalidates=False,
    ),
    operation_id="compute_dr",
)
async def compute_dr(request: Request, answers: Answers, body: DrRequest) -> Response:
    """What a demand-response event shed, over any window of the past.

    Baseline, actual and shed of every 5-minute slot and in total, by the chosen method and
    adjustment, with the share of slots that are known and the accuracy of the method where there
    was no event. A total is null rather than guessed when too little is known. CSV: a row per
    slot.
    """
    now: datetime = request.app.state.now()
    poles = () if body.pole_ids == "all" else tuple(sorted(set(body.pole_ids)))
    adjustment = None if body.adjustment is Adjustment.OWN else body.adjustment
    check_window(body.start, body.end, now)

    def make(question: Question) -> Made:
        check_history(body.start, body.end, question.facts)
        unknown = sorted(set(poles) - question.facts.poles)
        if unknown:
            raise Refused.of(
                "unknown-poles",
                f"nobody knows {_listed(unknown)}; /poles lists the poles",
                where="body.pole_ids",
            )
        asked = {
            "start": body.start,
            "end": body.end,
            "pole_ids": list(poles),
            "method": body.method,
            "adjustment": adjustment,
        }
        rows, accuracies = question.together(
            (DR_WINDOW, asked),
            (DR_ACCURACY, {"method": body.method, "adjustment": adjustment}),
        )
        total = next((row for row in rows if row["grain"] == "window"), None)
        by_pole = [row for row in rows if row["grain"] == "pole"]
        if total is None or all(row["null_reason"] == "insufficient_days" for row in by_pole):
            raise Refused(
                "no-history",
                f"{body.method} finds too few days with readings of {_listed(poles)} before "
                f"{body.start:%Y-%m-%d} to make a baseline of; choose a later window or a method "
                "that needs fewer days",
            )
        accuracy = {row.pop("pole_id"): Accuracy(**row) for row in accuracies}
        result = DrResult(
            window=Window(start=body.start, end=body.end),
            method=body.method,
            adjustment=total["adjustment"],
            total=total_of(total, by_pole),
            accuracy=gates_of([accuracy.get(row["pole_id"]) for row in by_pole]),
            poles=[_pole(row, accuracy) for row in by_pole],
            intervals=[
                DrInterval(**_fields_of(DrInterval, row)) for row in rows if row["grain"] == "slot"
            ],
        )
        return Made(result, result.intervals, DrInterval)

    question = {
        "start": body.start,
        "end": body.end,
        "poles": poles,
        "method": body.method,
        "adjustment": adjustment,
    }
    return await answers.give(request, question, make, revalidates=False)


def check_window(start: datetime, end: datetime, now: datetime) -> None:
    """Raise Refused (422) unless the window is one that an event may have had by `now`."""
    for name, at in (("start", start), ("end", end)):
        if floor_to(at, SLOT) != at:
            raise Refused.of(
                "window",
                f"{name} {at:%H:%M:%S} is not on a 5-minute mark, such as "
                f"{floor_to(at, SLOT):%H:%M:%S}",
                where=f"body.{name}",
            )
    if end <= start:
        raise Refused.of("window", "end is not after start", where="body.end")
    if end - start > LONGEST:
        raise Refused.of("window", "an event lasts 24 h at most", where="body.end")
    if end > now:
        raise Refused.of(
            "window-in-future",
            f"the event ends at {end:%Y-%m-%dT%H:%M:%SZ}, which has not come yet; what it sheds "
            "is known afterwards",
            where="body.end",
        )


def check_history(start: datetime, end: datetime, facts: Facts) -> None:
    """Raise Refused (422) when the warehouse holds no readings of the window or before it."""
    known_until = floor_to(facts.newest, SLOT) + SLOT
    if end > known_until:
        raise Refused.of(
            "not-built",
            f"the warehouse knows readings up to {facts.newest:%Y-%m-%dT%H:%M:%SZ}; wait for the "
            "next build, or run `ami build`",
            where="body.end",
        )
    if start < facts.oldest + timedelta(days=1):
        raise Refused.of(
            "no-history",
            f"the oldest reading is of {facts.oldest:%Y-%m-%dT%H:%M:%SZ}: no whole day before the "
            "window can serve a baseline",
            where="body.start",
        )


def total_of(total: Row, poles: Sequence[Row]) -> DrTotal:
    """The total of all poles, with the share of their slots that is known."""
    slots = sum(row["event_slots"] for row in poles)
    valid = sum(row["valid_slots"] for row in poles)
    return DrTotal(
        poles=total["poles"],
        unknown_poles=_names(total["unknown_poles"]),
        coverage=valid / slots if slots else None,
        **{name: total[name] for name in _ENERGIES},
    )


_ENERGIES: Final = ("baseline_kwh", "actual_kwh", "shed_kwh", "shed_pct", "rebound_kwh")


def gates_of(accuracies: Sequence[Accuracy | None]) -> Gates:
    """All poles' gates as one: a fail is a fail, and only all passes are a pass."""
    gates = [each.gate if each else Gate.NOT_ASSESSABLE for each in accuracies]
    passed, failed = gates.count(Gate.PASS), gates.count(Gate.FAIL)
    if failed:
        gate = Gate.FAIL
    else:
        gate = Gate.PASS if gates and passed == len(gates) else Gate.NOT_ASSESSABLE
    return Gates(
        gate=gate, passed=passed, failed=failed, not_assessable=len(gates) - passed - failed
    )


def _pole(row: Row, accuracy: Mapping[str, Accuracy]) -> DrPole:
    return DrPole(**_fields_of(DrPole, row), accuracy=accuracy.get(row["pole_id"]))


def _fields_of(model: type[BaseModel], row: Row) -> Row:
    """The columns of a row that are fields of a model."""
    return {name: row[name] for name in model.model_fields if name in row}


def _listed(poles: Sequence[str]) -> str:
    more = ", …" if len(poles) > _MOST_NAMED else ""
    return ", ".join(poles[:_MOST_NAMED]) + more if poles else "the poles"


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


@router.get(
    "/events",
    response_model=DrEvents,
    responses=described("cursor"),
    operation_id="list_dr_events",
)
async def list_dr_events(
    request: Request,
    answers: Answers,
    limit: Annotated[int, Query(ge=1, le=100, description="Most events of a page. [count]")] = 20,
    cursor: CursorText = None,
) -> Response:
    """Events that were called, newest first, with what they shed by every method and adjustment.

    CSV: a row per event.
    """
    after = cursor_of(cursor, timed=True)

    def make(question: Question) -> Made:
        rows = question.rows(
            DR_EVENTS,
            after_ts=after.ts if after else None,
            after_id=after.id if after else None,
            row_limit=limit + 1,
        )
        found = [list(same) for _, same in groupby(rows, key=lambda row: row["event_id"])]
        events = [_event(same) for same in found[:limit]]
        following = None
        if len(found) > limit:
            following = Cursor(events[-1].start, events[-1].event_id).text()
        return Made(DrEvents(events=events, next_cursor=following), events, DrEvent)

    return await answers.give(request, {"limit": limit, "after": after}, make)


def _event(rows: Sequence[Row]) -> DrEvent:
    first = rows[0]
    called = str(first["pole_ids"])
    return DrEvent(
        event_id=first["event_id"],
        start=first["start_ts"],
        end=first["end_ts"],
        pole_ids="all" if called == "all" else [name.strip() for name in called.split(";")],
        program=first["program"],
        notes=first["notes"],
        totals=[
            DrEventTotal(
                method=Method(row["method"]),
                adjustment=Adjustment(row["adjustment"]),
                is_own_adjustment=row["is_own_adjustment"],
                poles=row["poles"],
                unknown_poles=_names(row["unknown_poles"]),
                **{name: row[name] for name in _ENERGIES},
            )
            for row in rows
            if row["method"] is not None
        ],
    )
