"""Pictures of marts: reads what is worth a look in the built warehouse, gives markdown."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb

from ami_contract.lake import HOUR, DataDir, floor_hour
from ami_dagster.charts import Line, as_markdown, line_chart
from ami_store.highlights import (
    PoleDay,
    Sag,
    Shed,
    deepest_sag,
    newest_shed,
    worst_pole_day,
)

_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY = "#1f6fb4", "#d9601a", "#2e8b57", "#7a4fb5", "#888"
_SLOT_S: Final = 300


def sag_picture(sag: Sag) -> str | None:
    """Voltage second by second around an event; None without a reading of it."""
    if not any(voltage_v is not None for _, voltage_v in sag.readings):
        return None
    first, last = sag.readings[0][0], sag.readings[-1][0]
    lines = [
        Line("voltage", _BLUE, _points(sag.readings, 1)),
        Line(
            "nominal",
            _GREY,
            [(at.timestamp(), sag.nominal_voltage_v) for at in (first, last)],
            dashed=True,
        ),
    ]
    marked = [sag.start - timedelta(seconds=20), sag.start, last - timedelta(seconds=20)]
    labels = [(at.timestamp(), f"{at:%H:%M:%S}") for at in marked if first <= at <= last]
    chart = line_chart(
        f"Voltage of {sag.meter_id}",
        "V",
        lines,
        labels,
        (sag.start.timestamp(), sag.end.timestamp()),
    )
    depth_pu = sag.min_voltage_v / sag.nominal_voltage_v
    return as_markdown(
        chart,
        f"Deepest event of the newest day: {sag.meter_id}, {sag.start:%Y-%m-%d %H:%M:%S} UTC, "
        f"{sag.min_voltage_v:.1f} V ({depth_pu:.2f} pu)",
    )


def shed_picture(shed: Shed, text: str) -> str | None:
    """Baseline, actual and shed of an event, with `text` above it; None when no slot is known."""
    if not any(value is not None for slot in shed.slots for value in slot[2:]):
        return None
    lines = [
        Line("baseline", _GREY, _points(shed.slots, 2), dashed=True),
        Line("actual", _BLUE, _points(shed.slots, 3)),
        Line("shed", _ORANGE, _points(shed.slots, 4)),
    ]
    event = [slot[0].timestamp() for slot in shed.slots if slot[1] == "event"]
    shaded = (event[0], event[-1] + _SLOT_S) if event else None
    labels = _whole_hours([slot[0] for slot in shed.slots], every=2)
    chart = line_chart(f"{shed.event_id}, all poles", "kW", lines, labels, shaded)
    return as_markdown(chart, f"{text}; times in UTC, the event is shaded")


def health_picture(day: PoleDay) -> str | None:
    """Score and its parts by the hour; None when no hour has a score."""
    if not any(value is not None for hour in day.hours for value in hour[1:]):
        return None
    lines = [
        Line("median of poles", _GREY, _points(day.hours, 1), dashed=True),
        Line("score", _BLUE, _points(day.hours, 2)),
        Line("voltage", _PURPLE, _points(day.hours, 3)),
        Line("events", _ORANGE, _points(day.hours, 4)),
        Line("data", _GREEN, _points(day.hours, 5)),
    ]
    labels = _whole_hours([hour[0] for hour in day.hours], every=4)
    return as_markdown(
        line_chart(f"Health of {day.pole_id} by the hour", "0–100", lines, labels),
        f"Lowest score of the newest day: {day.pole_id}, {day.day:%Y-%m-%d}, {day.score:.1f} of "
        "100; hours in UTC",
    )


def _points(rows: Sequence[tuple[Any, ...]], column: int) -> list[tuple[float, float | None]]:
    return [(row[0].timestamp(), row[column]) for row in rows]


def _whole_hours(instants: Sequence[datetime], every: int) -> list[tuple[float, str]]:
    """Labels at UTC hours, every so many."""
    at, labels = floor_hour(instants[0]), []
    while at <= instants[-1]:
        if at >= instants[0] and at.hour % every == 0:
            labels.append((at.timestamp(), f"{at:%H:%M}"))
        at += HOUR
    return labels


def _sag(con: duckdb.DuckDBPyConnection, data: DataDir) -> str | None:
    found = deepest_sag(con, data)
    return sag_picture(found) if found else None


def _shed(con: duckdb.DuckDBPyConnection, data: DataDir) -> str | None:
    found = newest_shed(con, data)
    return (
        shed_picture(found, f"Newest event: {found.event_id} by {found.method}") if found else None
    )


def _health(con: duckdb.DuckDBPyConnection, data: DataDir) -> str | None:
    found = worst_pole_day(con, data)
    return health_picture(found) if found else None


PICTURES: Final[dict[str, Callable[[duckdb.DuckDBPyConnection, DataDir], str | None]]] = {
    "voltage_events": _sag,
    "dr_event_performance": _shed,
    "pole_health_daily": _health,
}
"""By mart; None when there is nothing to show."""
