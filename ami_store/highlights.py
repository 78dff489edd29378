"""What is worth a look: reads the built warehouse and the lake, gives the series of a picture.

The connection is that of `ami_store.built.built_warehouse`; each question touches few rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb

from ami_contract.lake import DataDir, floor_hour, hour_folder
from ami_store.lake import read_manifest
from ami_store.sql import file_list

_BESIDE: Final = timedelta(seconds=30)
_LONGEST: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Sag:
    """A low-voltage event and the readings around it.

    Attributes:
        meter_id: its meter.
        start, end: first and last low reading.
        min_voltage_v, nominal_voltage_v: in V.
        readings: (event_ts, V) from 30 s before to 30 s after, cut 10 minutes after the start.
    """

    meter_id: str
    start: datetime
    end: datetime
    min_voltage_v: float
    nominal_voltage_v: float
    readings: list[tuple[datetime, float | None]]


@dataclass(frozen=True)
class Shed:
    """A demand-response event over all its poles, by one method.

    Attributes:
        event_id, method: which.
        slots: (slot_ts, phase, baseline_kw, actual_kw, shed_kw); None where a pole does not know.
    """

    event_id: str
    method: str
    slots: list[tuple[datetime, str, float | None, float | None, float | None]]


@dataclass(frozen=True)
class PoleDay:
    """A pole's day beside all poles.

    Attributes:
        pole_id, day: which; the day is of UTC.
        score: of the day, 0 to 100.
        hours: (hour_ts, median score of all poles, score, its parts voltage, events and data), all
            from 0 to 100; None where unknown.
    """

    pole_id: str
    day: datetime
    score: float
    hours: list[
        tuple[datetime, float | None, float | None, float | None, float | None, float | None]
    ]


def deepest_sag(con: duckdb.DuckDBPyConnection, data: DataDir) -> Sag | None:
    """The event with the lowest voltage (in pu) that began in the last 24 h with events."""
    found = con.execute(
        "SELECT meter_id, epoch_us(start_ts), epoch_us(end_ts), min_voltage_v, min_voltage_pu "
        "FROM main.voltage_events WHERE min_voltage_pu > 0 "
        "AND start_ts > (SELECT max(start_ts) FROM main.voltage_events) - INTERVAL 1 DAY "
        "ORDER BY min_voltage_pu, start_ts DESC, meter_id LIMIT 1"
    ).fetchone()
    if not found:
        return None
    meter_id, start_us, end_us, min_voltage_v, min_voltage_pu = found
    start, end = _time(start_us), _time(end_us)
    first, last = start - _BESIDE, min(end, start + _LONGEST) + _BESIDE
    readings = _readings(con, data, meter_id, first, last)
    return Sag(meter_id, start, end, min_voltage_v, min_voltage_v / min_voltage_pu, readings)


def _readings(
    con: duckdb.DuckDBPyConnection, data: DataDir, meter_id: str, first: datetime, last: datetime
) -> list[tuple[datetime, float | None]]:
    """Readings of a meter, from the files of the hours in question alone."""
    files = [
        folder / name
        for start in sorted({floor_hour(first), floor_hour(last)})
        for folder in [data.readings / hour_folder(start)]
        for name in read_manifest(folder).readings
    ]
    if not files:
        return []
    rows = con.execute(
        f"SELECT epoch_us(event_ts), voltage_v FROM read_parquet({file_list(files)}) "
        "WHERE meter_id = ? AND event_ts BETWEEN ? AND ? ORDER BY event_ts",
        [meter_id, first, last],
    ).fetchall()
    return [(_time(at_us), voltage_v) for at_us, voltage_v in rows]


def newest_shed(con: duckdb.DuckDBPyConnection, _data: DataDir) -> Shed | None:
    """The newest event of which something is known, by the method that knows most of its slots.

    Each method with the adjustment that is its own.
    """
    found = con.execute(
        "SELECT event_id, method FROM main.dr_event_performance WHERE is_own_adjustment "
        "GROUP BY event_id, method HAVING count(shed_kw) > 0 "
        "ORDER BY max(slot_ts) DESC, count(shed_kw) DESC, event_id, method LIMIT 1"
    ).fetchone()
    if not found:
        return None
    rows = con.execute(
        "SELECT epoch_us(slot_ts), min(phase), "
        "CASE WHEN count(*) = count(baseline_kw) THEN sum(baseline_kw) END, "
        "CASE WHEN count(*) = count(actual_kw) THEN sum(actual_kw) END, "
        "CASE WHEN count(*) = count(shed_kw) THEN sum(shed_kw) END "
        "FROM main.dr_event_performance "
        "WHERE event_id = ? AND method = ? AND is_own_adjustment "
        "GROUP BY slot_ts ORDER BY slot_ts",
        list(found),
    ).fetchall()
    event_id, method = found
    return Shed(event_id, method, [(_time(at_us), *values) for at_us, *values in rows])


def worst_pole_day(con: duckdb.DuckDBPyConnection, _data: DataDir) -> PoleDay | None:
    """The newest day with a score, of the pole that has the lowest."""
    found = con.execute(
        "SELECT pole_id, epoch_us(day_ts), score FROM main.pole_health_daily "
        "WHERE score IS NOT NULL ORDER BY day_ts DESC, score, pole_id LIMIT 1"
    ).fetchone()
    if not found:
        return None
    pole_id, day_us, score = found
    day = _time(day_us)
    rows = con.execute(
        "SELECT epoch_us(hour_ts), median(score), any_value(score) FILTER (pole_id = $pole), "
        "100 * any_value(score_voltage) FILTER (pole_id = $pole), "
        "100 * any_value(score_events) FILTER (pole_id = $pole), "
        "100 * any_value(score_data) FILTER (pole_id = $pole) "
        "FROM main.pole_health_hourly WHERE hour_ts >= $first AND hour_ts < $end "
        "GROUP BY hour_ts ORDER BY hour_ts",
        {"pole": pole_id, "first": day, "end": day + timedelta(days=1)},
    ).fetchall()
    return PoleDay(pole_id, day, score, [(_time(at_us), *values) for at_us, *values in rows])


def _time(instant_us: int) -> datetime:
    return datetime.fromtimestamp(instant_us / 1_000_000, UTC)
