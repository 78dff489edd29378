"""Quality of all data: reads hourly counts and the dead letter, gives missing, late and refused."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ami_api.answers import Made, Question
from ami_api.models import (
    DeadLetters,
    FleetHour,
    FleetQuality,
    Identifier,
    MeterCounts,
    RefusedReadings,
    Window,
)
from ami_api.parameters import (
    Answers,
    Cursor,
    CursorText,
    End,
    Limit,
    Start,
    cursor_of,
    described,
    known_pole,
)
from ami_api.times import ceil_to, floor_to, span_of
from ami_store.refusals import RefusalCounts
from ami_store.statements import FLEET_QUALITY_HOURS, FLEET_QUALITY_METERS

router = APIRouter(tags=["quality"])

LONGEST: Final = timedelta(days=31)
_HOUR: Final = timedelta(hours=1)
# Reading the dead letter costs; answers share a look for so long.
_LOOK_S: Final = 5


@router.get(
    "/quality",
    response_model=FleetQuality,
    responses=described("cursor", "window", "unknown-pole"),
    operation_id="fleet_quality",
)
async def fleet_quality(
    request: Request,
    answers: Answers,
    start: Start = None,
    end: End = None,
    pole_id: Annotated[Identifier | None, Query(description="Only meters of this pole.")] = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """What was expected of all meters and received, over at most 31 days.

    Hours are of all meters together, on every page. The window is widened to whole UTC hours.
    CSV: a row per meter.
    """
    after = cursor_of(cursor, timed=False)

    def make(question: Question) -> Made:
        if pole_id is not None:
            known_pole(question.facts, pole_id)
        asked = span_of(start, end, newest=question.facts.newest, longest=LONGEST)
        window = Window(start=floor_to(asked.start, _HOUR), end=ceil_to(asked.end, _HOUR))
        bounds = {"start": window.start, "end": window.end, "pole_id": pole_id}
        rows = question.rows(
            FLEET_QUALITY_METERS,
            **bounds,
            after_id=after.id if after else None,
            row_limit=limit + 1,
        )
        meters = [MeterCounts(**row) for row in rows[:limit]]
        following = Cursor(None, meters[-1].meter_id).text() if len(rows) > limit else None
        answer = FleetQuality(
            window=window,
            hours=[FleetHour(**row) for row in question.rows(FLEET_QUALITY_HOURS, **bounds)],
            meters=meters,
            next_cursor=following,
        )
        return Made(answer, meters, MeterCounts)

    question = {"start": start, "end": end, "pole": pole_id, "limit": limit, "after": after}
    return await answers.give(request, question, make)


@router.get(
    "/deadletters",
    response_model=DeadLetters,
    responses=described("window", revalidates=False),
    operation_id="count_dead_letters",
)
async def count_dead_letters(
    request: Request,
    answers: Answers,
    start: Start = None,
    end: Annotated[
        End, Query(description="First moment after the window of arrival; default: now.")
    ] = None,
) -> Response:
    """Readings refused in a window of at most 31 days, by the reason, as the storage stands.

    What was stored after all by a replay is not among them. CSV: a row per reason.
    """
    now: datetime = request.app.state.now()
    refusals: RefusalCounts | None = request.app.state.refusals
    asked = span_of(start, end, newest=now, longest=LONGEST)

    def make(_question: Question) -> Made:
        found = refusals(asked.start, asked.end) if refusals else []
        reasons = [RefusedReadings(**row) for row in found]
        answer = DeadLetters(
            window=Window(start=asked.start, end=asked.end),
            is_known=refusals is not None,
            letters=sum(each.letters for each in reasons),
            readings=sum(each.readings for each in reasons),
            reasons=reasons,
        )
        return Made(answer, reasons, RefusedReadings)

    look = str(int(time.monotonic() // _LOOK_S))
    question = {"start": start, "end": end}
    return await answers.give(request, question, make, volatile=look, revalidates=False)
