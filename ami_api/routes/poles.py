"""Poles: reads their marts, gives lists, summaries and time series."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from ami_api.answers import Made, Question
from ami_api.models import (
    EventSummary,
    HealthSummary,
    Identifier,
    Metric,
    Point,
    Pole,
    Poles,
    PoleSite,
    PoleSummary,
    PowerSummary,
    Resolution,
    Series,
    VoltageSummary,
    Window,
)
from ami_api.parameters import (
    Answers,
    Cursor,
    CursorText,
    End,
    Limit,
    PoleId,
    Start,
    cursor_of,
    described,
    known_pole,
)
from ami_api.times import DAY, ceil_to, floor_to, span_of
from ami_store.serving import Row
from ami_store.statements import (
    MAX_POINTS,
    POLE_SUMMARY,
    POLES,
    SERIES_OF_MINUTES,
    SERIES_OF_SLOTS,
)

router = APIRouter(tags=["poles"])
_Model = TypeVar("_Model", bound=BaseModel)

HOUR: Final = timedelta(hours=1)
LONGEST_SUMMARY: Final = timedelta(days=93)
# Length of a part, of what it is made of, and the longest window.
PARTS: Final = {
    Resolution.MINUTE: (timedelta(minutes=1), timedelta(minutes=1), timedelta(days=7)),
    Resolution.FIVE_MINUTES: (timedelta(minutes=5), timedelta(minutes=5), timedelta(days=31)),
    Resolution.QUARTER: (timedelta(minutes=15), timedelta(minutes=5), timedelta(days=93)),
    Resolution.HOUR: (HOUR, timedelta(minutes=5), timedelta(days=366)),
    Resolution.DAY: (DAY, timedelta(minutes=5), timedelta(days=731)),
}
_UNITS: Final = {
    Metric.VOLTAGE_V: "V",
    Metric.POWER_KW: "kW",
    Metric.ENERGY_KWH: "kWh",
    Metric.COVERAGE: "1",
}
# Columns of value, least and most.
_COLUMNS: Final = {
    Metric.VOLTAGE_V: ("mean_voltage_v", "min_voltage_v", "max_voltage_v"),
    Metric.POWER_KW: ("mean_kw", "min_kw", "max_kw"),
    Metric.ENERGY_KWH: ("energy_kwh", None, None),
    Metric.COVERAGE: ("coverage", "min_coverage", "max_coverage"),
}


@router.get(
    "/poles",
    response_model=Poles,
    responses=described(
        "cursor",
        links={
            "summarize_pole": ("pole_id", "/poles/0/pole_id"),
            "pole_timeseries": ("pole_id", "/poles/0/pole_id"),
            "list_anomalies": ("pole_id", "/poles/0/pole_id"),
        },
    ),
    operation_id="list_poles",
)
async def list_poles(
    request: Request,
    answers: Answers,
    feeder_id: Annotated[
        Identifier | None, Query(description="Only poles of this feeder.", examples=["feeder-1"])
    ] = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """All poles by name, each with its condition in the newest hour of the last day of readings.

    CSV: a row per pole.
    """
    after = cursor_of(cursor, timed=False)

    def make(question: Question) -> Made:
        rows = question.rows(
            POLES,
            feeder_id=feeder_id,
            after_id=after.id if after else None,
            health_since=question.facts.newest - DAY,
            row_limit=limit + 1,
        )
        poles = [Pole(**row) for row in rows[:limit]]
        following = Cursor(None, poles[-1].pole_id).text() if len(rows) > limit else None
        return Made(Poles(poles=poles, next_cursor=following), poles, Pole)

    return await answers.give(request, {"feeder": feeder_id, "limit": limit, "after": after}, make)


@router.get(
    "/pole/{pole_id}/summary",
    response_model=PoleSummary,
    responses=described("unknown-pole", "window"),
    operation_id="summarize_pole",
)
async def summarize_pole(
    request: Request, answers: Answers, pole_id: PoleId, start: Start = None, end: End = None
) -> Response:
    """Power, energy, voltage, health and events of a pole over a window of at most 93 days.

    Power and voltage are of the 5-minute slots that start in the window, health is of the UTC
    hours that the window touches. CSV: one row.
    """

    def make(question: Question) -> Made:
        known_pole(question.facts, pole_id)
        span = span_of(start, end, newest=question.facts.newest, longest=LONGEST_SUMMARY)
        row = question.row(
            POLE_SUMMARY,
            pole_id=pole_id,
            start=span.start,
            end=span.end,
            read_start=floor_to(span.start, HOUR),
        )
        assert row is not None
        summary = PoleSummary(
            pole=_part(PoleSite, row),
            window=Window(start=span.start, end=span.end),
            power=_part(PowerSummary, row),
            voltage=_part(VoltageSummary, row),
            health=_part(HealthSummary, row),
            events=_part(EventSummary, row),
        )
        return Made(summary, None, PoleSummary)

    return await answers.give(request, {"start": start, "end": end}, make)


@router.get(
    "/pole/{pole_id}/timeseries",
    response_model=Series,
    responses=described("unknown-pole", "window"),
    operation_id="pole_timeseries",
)
async def pole_timeseries(
    request: Request,
    answers: Answers,
    pole_id: PoleId,
    metric: Annotated[Metric, Query(description="What to show.")] = Metric.POWER_KW,
    start: Start = None,
    end: End = None,
    resolution: Annotated[
        Resolution,
        Query(
            description="Length of the parts; the window may be 7 days at 1m, 31 at 5m, 93 at "
            "15m, 366 at 1h and 731 at 1d."
        ),
    ] = Resolution.FIVE_MINUTES,
) -> Response:
    """A quantity of a pole over time.

    The window is widened to whole parts. Voltage is the mean of the readings with its extremes,
    power the mean over time of the parts that have one, energy their sum. CSV: a row per part.
    """
    width, stored, longest = PARTS[resolution]

    def make(question: Question) -> Made:
        known_pole(question.facts, pole_id)
        asked = span_of(start, end, newest=question.facts.newest, longest=longest)
        window = Window(start=floor_to(asked.start, width), end=ceil_to(asked.end, width))
        statement = SERIES_OF_MINUTES if resolution is Resolution.MINUTE else SERIES_OF_SLOTS
        rows = question.rows(
            statement,
            pole_id=pole_id,
            start=window.start,
            end=window.end,
            resolution_s=int(width.total_seconds()),
            row_limit=MAX_POINTS,
        )
        points = [_point(row, metric, width // stored) for row in rows]
        series = Series(
            pole_id=pole_id,
            metric=metric,
            unit=_UNITS[metric],
            resolution=resolution,
            window=window,
            points=points,
        )
        return Made(series, points, Point)

    return await answers.give(
        request, {"metric": metric, "start": start, "end": end, "resolution": resolution}, make
    )


def _part(model: type[_Model], row: Row) -> _Model:
    return model(**{name: row[name] for name in model.model_fields})


def _point(row: Row, metric: Metric, parts: int) -> Point:
    value, least, most = _COLUMNS[metric]
    return Point(
        ts=row["ts"],
        value=row[value],
        min=row[least] if least else None,
        max=row[most] if most else None,
        valid_share=row["power_parts"] / parts,
    )
