"""Meters: reads the quality of their data, gives it hour by hour."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from ami_api.answers import Made, Question
from ami_api.models import Meter, MeterQuality, QualityHour, QualityTotal, VoltageDay, Window
from ami_api.parameters import Answers, End, MeterId, Start, described
from ami_api.problems import Refused
from ami_api.times import DAY, ceil_to, floor_to, span_of
from ami_store.statements import (
    METER,
    METER_QUALITY_HOURS,
    METER_QUALITY_TOTAL,
    METER_VOLTAGE_DAYS,
)

router = APIRouter(tags=["meters"])

_HOUR: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=31)


@router.get(
    "/meters/{meter_id}/quality",
    response_model=MeterQuality,
    responses=described("unknown-meter", "window"),
    operation_id="meter_quality",
)
async def meter_quality(
    request: Request, answers: Answers, meter_id: MeterId, start: Start = None, end: End = None
) -> Response:
    """What was expected of a meter and received, and its voltage, over at most 31 days.

    The window is widened to whole UTC hours. CSV: a row per hour.
    """

    def make(question: Question) -> Made:
        meter = question.row(METER, meter_id=meter_id)
        if meter is None:
            raise Refused(
                "unknown-meter",
                f"neither a reading nor the registry names the meter {meter_id!r}",
            )
        asked = span_of(start, end, newest=question.facts.newest, longest=LONGEST)
        window = Window(start=floor_to(asked.start, _HOUR), end=ceil_to(asked.end, _HOUR))
        total = question.row(
            METER_QUALITY_TOTAL, meter_id=meter_id, start=window.start, end=window.end
        )
        assert total is not None
        hours = [
            QualityHour(**row)
            for row in question.rows(
                METER_QUALITY_HOURS, meter_id=meter_id, start=window.start, end=window.end
            )
        ]
        days = question.rows(
            METER_VOLTAGE_DAYS,
            meter_id=meter_id,
            # Local days reach up to 14 h over the UTC days of the window.
            first_day=(window.start - DAY / 2).date(),
            last_day=(window.end + DAY / 2).date(),
        )
        quality = MeterQuality(
            meter=Meter(**meter),
            window=window,
            total=QualityTotal(**total),
            hours=hours,
            voltage_days=[VoltageDay(**row) for row in days],
        )
        return Made(quality, hours, QualityHour)

    return await answers.give(request, {"start": start, "end": end}, make)
