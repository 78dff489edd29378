"""What is worth a look: the deepest sag, the newest event's shed, the worst pole's day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from support import HOUR, stored_rows

from ami_contract.lake import DataDir
from ami_store.highlights import deepest_sag, newest_shed, worst_pole_day
from ami_store.lake import compact_hour, compaction_connection, land

START = HOUR + timedelta(minutes=10)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty warehouse."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def events(con: duckdb.DuckDBPyConnection, *rows: tuple[str, datetime, float]) -> None:
    """`voltage_events` of 3 s each: meter, start, depth in pu of 240 V."""
    con.execute(
        "CREATE TABLE voltage_events (meter_id TEXT, start_ts TIMESTAMPTZ, end_ts TIMESTAMPTZ, "
        "min_voltage_v DOUBLE, min_voltage_pu DOUBLE)"
    )
    for meter_id, start, depth_pu in rows:
        con.execute(
            "INSERT INTO voltage_events VALUES (?, ?, ?, ?, ?)",
            [meter_id, start, start + timedelta(seconds=2), 240 * depth_pu, depth_pu],
        )


def test_the_deepest_event_of_the_newest_day_comes_with_30_s_on_either_side(
    con: duckdb.DuckDBPyConnection, data: DataDir
) -> None:
    voltages_v = [240.0] * 100
    voltages_v[50:53] = [200.0, 192.0, 201.0]
    land(data, HOUR, "one", stored_rows(START, voltages_v))
    with compaction_connection() as compacting:
        compact_hour(data, HOUR, now=HOUR + timedelta(hours=2), con=compacting)
    sag = START + timedelta(seconds=50)
    events(
        con,
        ("m1", sag, 0.8),
        ("m2", sag + timedelta(hours=3), 0.9),
        # Deeper, but of the day before.
        ("m3", sag - timedelta(hours=22), 0.1),
    )
    found = deepest_sag(con, data)
    assert found is not None
    assert (found.meter_id, found.start, found.end) == ("m1", sag, sag + timedelta(seconds=2))
    assert (found.min_voltage_v, found.nominal_voltage_v) == (192.0, 240.0)
    assert found.readings[0] == (START + timedelta(seconds=20), 240.0)
    assert found.readings[31] == (START + timedelta(seconds=51), 192.0)
    assert found.readings[-1] == (START + timedelta(seconds=82), 240.0)
    assert len(found.readings) == 63


def test_without_events_there_is_no_sag(con: duckdb.DuckDBPyConnection, data: DataDir) -> None:
    events(con)
    assert deepest_sag(con, data) is None


def test_a_shed_is_summed_over_poles_and_blank_where_one_is_unknown(
    con: duckdb.DuckDBPyConnection, data: DataDir
) -> None:
    con.execute(
        "CREATE TABLE dr_event_performance (event_id TEXT, pole_id TEXT, method TEXT, "
        "is_own_adjustment BOOL, slot_ts TIMESTAMPTZ, phase TEXT, baseline_kw DOUBLE, "
        "actual_kw DOUBLE, shed_kw DOUBLE)"
    )
    for event_id, pole_id, method, own, minute, baseline_kw, actual_kw in [
        ("old", "p1", "median", True, 0, 9.0, 9.0),
        ("new", "p1", "median", True, 60, 5.0, 3.0),
        ("new", "p2", "median", True, 60, 7.0, 6.5),
        ("new", "p1", "median", True, 65, 5.0, 4.0),
        ("new", "p2", "median", True, 65, None, 6.0),
        ("new", "p1", "median", False, 60, 99.0, 99.0),
        # Knows less.
        ("new", "p1", "mean", True, 60, 50.0, 3.0),
    ]:
        shed_kw = None if baseline_kw is None else baseline_kw - actual_kw
        con.execute(
            "INSERT INTO dr_event_performance VALUES (?, ?, ?, ?, ?, 'event', ?, ?, ?)",
            [
                event_id,
                pole_id,
                method,
                own,
                HOUR + timedelta(minutes=minute),
                baseline_kw,
                actual_kw,
                shed_kw,
            ],
        )
    found = newest_shed(con, data)
    assert found is not None
    assert (found.event_id, found.method) == ("new", "median")
    assert found.slots == [
        (HOUR + timedelta(minutes=60), "event", 12.0, 9.5, 2.5),
        (HOUR + timedelta(minutes=65), "event", None, 10.0, None),
    ]


def test_the_worst_pole_of_the_newest_day_stands_beside_the_median(
    con: duckdb.DuckDBPyConnection, data: DataDir
) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    con.execute("CREATE TABLE pole_health_daily (pole_id TEXT, day_ts TIMESTAMPTZ, score DOUBLE)")
    con.execute(
        "CREATE TABLE pole_health_hourly (pole_id TEXT, hour_ts TIMESTAMPTZ, score DOUBLE, "
        "score_voltage DOUBLE, score_events DOUBLE, score_data DOUBLE)"
    )
    yesterday = day - timedelta(days=1)
    for pole_id, day_ts, score in [
        ("p1", day, 90.0),
        ("p2", day, 40.0),
        ("p3", day, None),
        ("p1", yesterday, 5.0),
    ]:
        con.execute("INSERT INTO pole_health_daily VALUES (?, ?, ?)", [pole_id, day_ts, score])
    for pole_id, hour, score, voltage in [
        ("p1", 0, 90.0, 1.0),
        ("p2", 0, 40.0, 0.25),
        ("p3", 0, 60.0, 0.5),
        ("p1", 23, 80.0, 1.0),
        ("p1", 24, 70.0, 1.0),
    ]:
        con.execute(
            "INSERT INTO pole_health_hourly VALUES (?, ?, ?, ?, 1, NULL)",
            [pole_id, day + timedelta(hours=hour), score, voltage],
        )
    found = worst_pole_day(con, data)
    assert found is not None
    assert (found.pole_id, found.day, found.score) == ("p2", day, 40.0)
    assert found.hours == [
        (day, 60.0, 40.0, 25.0, 100.0, None),
        (day + timedelta(hours=23), 80.0, None, None, None, None),
    ]
