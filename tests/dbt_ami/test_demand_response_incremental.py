"""Demand response after changes, each far from the others, against a build of everything.

Two poles of two meters over half a year of 5-minute slots, as the models of readings would leave
them. The look-back is 8 days, so that what one change reaches ends before the next begins.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from ami_contract.lake import DataDir

from .conftest import run_dbt
from .dr_world import DR_MODELS

START = datetime(2025, 9, 1, tzinfo=UTC)
DAYS = 188
LOOKBACK_DAYS = 8
VARS = (
    f"{{dr_lookback_days: {LOOKBACK_DAYS}, dr_accuracy_days: {LOOKBACK_DAYS},"
    " dr_accuracy_min_days: 5}"
)

# Monday of the week of each change, in days after START; nothing else happens around it.
LATE, NEW_EVENT, NO_EVENT, MOVED_EVENT = 14, 35, 56, 77
HOLIDAY, OUTAGE, SERVICE, WITHDRAWN = 98, 119, 140, 161


def at(day: int, hour: float = 0) -> datetime:
    """`hour` UTC of the day."""
    return START + timedelta(days=day, hours=hour)


WATERMARK = at(DAYS, 10)


def write_first_state(data: DataDir) -> None:
    """What the models of readings hold before the first build."""
    data.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute(
            """
            create table int_meter_5min as
            select meter_id, pole_id, slot_ts, 300 as received_readings, 300.0::double as covered_s,
                300.0::double as in_service_s,
                (16 + hash(meter_id, slot_ts) % 16)::double / 64 as covered_kwh,
                240.0::double as min_voltage_v, 240.0::double as max_voltage_v,
                240.0::double as voltage_sum_v
            from (values ('e0', 'east'), ('e1', 'east'), ('w0', 'west'), ('w1', 'west'))
                as meters(meter_id, pole_id),
                range(?::timestamptz, ?::timestamptz, interval 5 minute) as slots(slot_ts)
            """,
            [START, WATERMARK],
        )
        # A gap that other days fill, one that a line bridges, and hours without a whole pole.
        con.execute(
            "update int_meter_5min set covered_s = 0, covered_kwh = 0 where meter_id = 'e0' and"
            " (slot_ts between ? and ? or slot_ts between ? and ?)",
            [at(LATE + 2, 12), at(LATE + 2, 15), at(LATE + 2, 20), at(LATE + 2, 20.25)],
        )
        con.execute(
            "delete from int_meter_5min where pole_id = 'west' and slot_ts >= ? and slot_ts < ?",
            [at(SERVICE, 10), at(SERVICE, 14)],
        )
        con.execute(
            "create table int_meter_hour_parts as"
            " select distinct meter_id, pole_id, date_trunc('hour', slot_ts) as hour_ts"
            " from int_meter_5min"
        )
        con.execute(
            """
            create table int_meter_service as
            select distinct meter_id, pole_id, ?::timestamptz as service_from,
                ?::timestamptz as expected_from, ?::timestamptz as expected_to,
                case pole_id when 'east' then 'America/Chicago' else 'Europe/Paris' end as time_zone
            from int_meter_5min
            """,
            [START, START, WATERMARK],
        )
        con.execute(
            "create table int_lake_range as"
            " select ?::timestamptz as oldest_event_ts, ?::timestamptz as watermark_ts",
            [START, WATERMARK],
        )
        con.execute(
            "create table outages (meter_id varchar, pole_id varchar, start_ts timestamptz,"
            " end_ts timestamptz, until_ts timestamptz)"
        )
        con.execute("create table holidays (day date, zone varchar, name varchar)")
        con.execute(
            "create table dr_events (event_id varchar, start_ts timestamptz, end_ts timestamptz,"
            " pole_ids varchar, program varchar, notes varchar)"
        )
        for name, day in (("no", NO_EVENT), ("moved", MOVED_EVENT)):
            add_event(con, name, day + 1)
        # After the end of the readings, where its candidates are still to come.
        add_event(con, "coming", DAYS + 3)
        con.execute(
            "create table int_touched_slot_windows as"
            " select distinct hour_ts as window_ts from int_meter_hour_parts"
        )


def add_event(con: duckdb.DuckDBPyConnection, name: str, day: int) -> None:
    """Two hours in the evening at the pole `east`."""
    con.execute(
        "insert into dr_events values (?, ?, ?, 'east', '', '')", [name, at(day, 22), at(day, 24)]
    )


def touch(con: duckdb.DuckDBPyConnection, *hours: datetime) -> None:
    """Say that the models of readings have restated these hours, and no others."""
    con.execute("delete from int_touched_slot_windows")
    for hour in hours:
        con.execute("insert into int_touched_slot_windows values (?)", [hour])


def change(con: duckdb.DuckDBPyConnection) -> None:
    """A late reading, events, a holiday, an outage, another service, and the next hours."""
    con.execute(
        "update int_meter_5min set covered_kwh = 2 where meter_id = 'e0' and slot_ts = ?",
        [at(LATE, 13)],
    )
    add_event(con, "new", NEW_EVENT + 1)
    con.execute("delete from dr_events where event_id = 'no'")
    con.execute("update dr_events set end_ts = ? where event_id = 'moved'", [at(MOVED_EVENT + 2)])
    con.execute("update dr_events set start_ts = ? where event_id = 'moved'", [at(MOVED_EVENT + 1)])
    con.execute("insert into holidays values (?, 'America/Chicago', '')", [at(HOLIDAY).date()])
    con.execute(
        "insert into outages values ('w0', 'west', ?, ?, ?)",
        [at(OUTAGE, 21), at(OUTAGE + 2, 3), at(OUTAGE + 2, 3)],
    )
    # Out of service within the hours in which the pole was silent.
    con.execute(
        "update int_meter_service set expected_to = ? where meter_id = 'w1'", [at(SERVICE, 11)]
    )
    con.execute(
        "insert into int_meter_service select meter_id, pole_id, ?, ?, ?, time_zone"
        " from int_meter_service where meter_id = 'w1'",
        [at(SERVICE, 12.5), at(SERVICE, 12.5), WATERMARK],
    )
    # Two hours on, of which one pole was silent in the first.
    con.execute(
        "insert into int_meter_5min by name select * replace (slot_ts + interval 1 day as slot_ts)"
        " from int_meter_5min where slot_ts >= ? and slot_ts < ?"
        " and (pole_id = 'east' or slot_ts >= ?)",
        [at(DAYS - 1, 10), at(DAYS - 1, 12), at(DAYS - 1, 11)],
    )
    con.execute(
        "insert into int_meter_hour_parts select distinct meter_id, pole_id,"
        " date_trunc('hour', slot_ts) from int_meter_5min where slot_ts >= ?",
        [WATERMARK],
    )
    con.execute(
        "update int_meter_service set expected_to = ? where expected_to = ?",
        [at(DAYS, 12), WATERMARK],
    )
    con.execute("update int_lake_range set watermark_ts = ?", [at(DAYS, 12)])
    touch(con, at(LATE, 13), at(DAYS, 10), at(DAYS, 11))


def run_models(data: DataDir, *arguments: str) -> None:
    """Run the models of demand response."""
    done = run_dbt(data, "run", "--vars", VARS, "--select", *DR_MODELS, *arguments)
    assert done.returncode == 0, done.stdout


def listed_days(con: duckdb.DuckDBPyConnection, name: str) -> set[int]:
    """Days after START of which the model `name` lists windows."""
    rows = con.execute(f"select distinct date_diff('day', ?, window_ts) from {name}", [START])
    return {day for (day,) in rows.fetchall()}


def assert_whole_build_is_the_same(data: DataDir) -> None:
    """Build everything anew; every model must hold the rows that it held (floats within 1e-6)."""
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("create schema if not exists kept")
        names = [
            name
            for (name,) in con.execute(
                "select table_name from duckdb_tables() where schema_name = 'main'"
                " and (table_name like '%dr\\_%' escape '\\' or table_name like '%slots'"
                " or table_name like '%days' or table_name like '%5min%')"
            ).fetchall()
        ]
        for name in names:
            con.execute(f"create or replace table kept.{name} as from main.{name}")
    run_models(data, "--full-refresh")
    with duckdb.connect(str(data.warehouse)) as con:
        for name in names:
            columns = ", ".join(
                # Off the ties: 9.2046875 is as good as 9.204687499999999.
                f"round({column} + 0.00000017, 6)" if kind == "DOUBLE" else column
                for column, kind, *_ in con.execute(f"describe main.{name}").fetchall()
            )
            kept, whole = (f"select {columns} from {schema}.{name}" for schema in ("kept", "main"))
            assert con.execute(f"{kept} except all {whole} limit 3").fetchall() == [], name
            assert con.execute(f"{whole} except all {kept} limit 3").fetchall() == [], name
    assert len(names) >= 16


def test_what_changes_reach_is_restated_and_nothing_else(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "lake")
    write_first_state(data)
    run_models(data)
    with duckdb.connect(str(data.warehouse)) as con:
        change(con)
    run_models(data)
    with duckdb.connect(str(data.warehouse)) as con:
        assert listed_days(con, "int_changed_day_windows") == {
            *range(LATE - 1, LATE + 2),
            *range(NEW_EVENT, NEW_EVENT + 4),
            *range(NO_EVENT, NO_EVENT + 4),
            *range(MOVED_EVENT, MOVED_EVENT + 4),
            *range(HOLIDAY - 1, HOLIDAY + 2),
            *range(OUTAGE - 1, OUTAGE + 4),
            *range(SERVICE - 1, SERVICE + 2),
            *range(DAYS - 1, DAYS + 2),
        }
        restated = listed_days(con, "int_baseline_windows")
        assert {LATE + LOOKBACK_DAYS, LATE + 2 + LOOKBACK_DAYS} < restated
        assert not restated & {LATE - 3, HOLIDAY - 3, SERVICE - 3, *range(160, 170)}
    assert_whole_build_is_the_same(data)


@pytest.mark.slow
def test_a_run_that_is_cut_short_and_another_zone_leave_what_a_whole_build_gives(
    tmp_path: Path,
) -> None:
    data = DataDir(tmp_path / "lake")
    write_first_state(data)
    run_models(data)

    # An event is restated, and withdrawn before the next run.
    with duckdb.connect(str(data.warehouse)) as con:
        touch(con)
        add_event(con, "withdrawn", WITHDRAWN + 1)
    run_models(data, "--exclude", "dr_event_performance+")
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("delete from dr_events where event_id = 'withdrawn'")
    run_models(data)
    with duckdb.connect(str(data.warehouse)) as con:
        assert listed_days(con, "int_changed_day_windows") == {*range(WITHDRAWN, WITHDRAWN + 4)}
    assert_whole_build_is_the_same(data)

    # Every day of the pole is another.
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("update int_meter_service set time_zone = 'Asia/Tokyo' where pole_id = 'west'")
    run_models(data)
    assert_whole_build_is_the_same(data)
