"""Events seen before they are built, beside what the next build makes of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from ami_contract.lake import DataDir, floor_hour
from ami_contract.reading import ROW_SCHEMA
from ami_store.lake import compact_hour, compaction_connection, hours, land
from ami_store.warehouse import connect, publish

from .conftest import NOW, run_dbt, write_lake
from .fleet import SPAN, START, Row, build_fleet, registry_rows

BUILT_UNTIL = START + SPAN - timedelta(minutes=12)
SINCE = BUILT_UNTIL - timedelta(minutes=15)


@dataclass
class Tail:
    """Events by id: built before the tail, recent with it, and after the next build."""

    before: dict[str, dict[str, Any]]
    recent: dict[str, dict[str, Any]]
    again: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]


def events_of(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, dict[str, Any]]:
    """Rows of a relation or function by event_id, without scope."""
    cursor = con.execute(f"select * from {relation}")
    names = [column[0] for column in cursor.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {row["event_id"]: {k: v for k, v in row.items() if k != "scope"} for row in rows}


@pytest.fixture(scope="module")
def tail(tmp_path_factory: pytest.TempPathFactory) -> Tail:
    """A fleet built up to `BUILT_UNTIL`; the rest has landed and is not compacted."""
    data = DataDir(tmp_path_factory.mktemp("tail"))
    meters, stored = build_fleet([5, 8])
    early = [row for row in stored if max(row["event_ts"], row["ingest_ts"]) < BUILT_UNTIL]
    late = [row for row in stored if max(row["event_ts"], row["ingest_ts"]) >= BUILT_UNTIL]
    write_lake(data, early, registry_rows(meters))
    selected = ("run", "--select", "+voltage_events", "recent_sag_events")
    done = run_dbt(data, *selected)
    assert done.returncode == 0, done.stdout
    publish(data)
    by_hour: dict[datetime, list[Row]] = defaultdict(list)
    for row in late:
        by_hour[floor_hour(row["event_ts"])].append(row)
    for hour, rows in by_hour.items():
        land(data, hour, "tail", pa.Table.from_pylist(rows, schema=ROW_SCHEMA))
    with connect(data) as con:
        before = events_of(con, "voltage_events")
        recent = events_of(con, f"recent_sag_events('{SINCE.isoformat()}')")
    con = compaction_connection()
    for hour in list(hours(data)):
        compact_hour(data, hour.start, now=NOW, con=con)
    con.close()
    assert run_dbt(data, *selected).returncode == 0
    publish(data)
    with connect(data) as con:
        after = events_of(con, "voltage_events")
        again = events_of(con, f"recent_sag_events('{SINCE.isoformat()}')")
    return Tail(before, recent, again, after)


def test_recent_events_are_those_that_the_next_build_makes(tail: Tail) -> None:
    changed = {
        key: event
        for key, event in tail.after.items()
        if event["end_ts"] >= SINCE and tail.before.get(key) != event
    }

    assert len(changed) > 10
    assert tail.recent == changed


def test_recent_events_begin_end_and_go_on(tail: Tail) -> None:
    fresh = [event for key, event in tail.recent.items() if key not in tail.before]

    assert any(event["is_open"] for event in tail.recent.values())
    assert any(event["ended_by"] == "recovery" for event in fresh)
    assert any(
        event["start_ts"] < BUILT_UNTIL < event["end_ts"] for event in tail.recent.values()
    ), "none goes on over the end of the build"


def test_an_event_that_is_built_is_recent_no_more(tail: Tail) -> None:
    assert tail.again == {}


def test_the_function_reads_what_is_stored_when_it_is_called(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    meters, stored = build_fleet([5])
    write_lake(data, stored[:1], registry_rows(meters))
    done = run_dbt(data, "run", "--select", "+voltage_events", "recent_sag_events")
    assert done.returncode == 0, done.stdout
    publish(data)
    at = floor_hour(NOW)
    low = [
        {
            **stored[0],
            "seq": 10**6 + number,
            "event_ts": at + timedelta(seconds=number),
            "ingest_ts": at + timedelta(seconds=number + 1),
            "event_date": at.date(),
            "voltage_v": 200.0 if 10 <= number < 17 else 240.0,
            "quality_flags": [],
        }
        for number in range(30)
    ]
    with connect(data) as con:
        assert events_of(con, f"recent_sag_events('{at.isoformat()}')") == {}

    land(data, at, "sag", pa.Table.from_pylist(low, schema=ROW_SCHEMA))

    with connect(data) as con:
        [event] = events_of(con, f"recent_sag_events('{at.isoformat()}')").values()
    assert (event["start_ts"], event["end_ts"]) == (
        at + timedelta(seconds=10),
        at + timedelta(seconds=16),
    )
    assert (event["duration_s"], event["ended_by"]) == (7, "recovery")
