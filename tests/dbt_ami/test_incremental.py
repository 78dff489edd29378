"""Builds that follow each other over a growing lake, against one build of all of it."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from ami_contract.lake import DataDir, floor_hour
from ami_contract.reading import ROW_SCHEMA
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.lake import compact_hour, compaction_connection, land
from ami_store.registry import write_registry

from .conftest import NOW, run_dbt, start_dbt
from .fleet import SPAN, START, Row, build_fleet, registry_rows
from .fleet_events import build_events_fleet

# What differs by design: the windows of the last run, and the history of events.
_NOT_COMPARED = {"superseded_events"}

MODELS_ONLY = ("--resource-type", "model", "--resource-type", "seed")


def _land(data: DataDir, rows: Iterable[Row], segment: str, minute: int) -> None:
    hours: dict[datetime, list[Row]] = defaultdict(list)
    for row in rows:
        hours[floor_hour(row["event_ts"])].append(row)
    con = compaction_connection()
    for hour, of_hour in hours.items():
        land(data, hour, segment, pa.Table.from_pylist(of_hour, schema=ROW_SCHEMA))
        compact_hour(data, hour, now=NOW + timedelta(minutes=minute), con=con)
    con.close()


def _register(data: DataDir, registry: list[Row]) -> None:
    write_registry(data.registry, pa.Table.from_pylist(registry, schema=REGISTRY_SCHEMA))


def _build(data: DataDir, *arguments: str) -> None:
    done = run_dbt(data, "build", *MODELS_ONLY, *arguments)
    assert done.returncode == 0, done.stdout


def _tables(data: DataDir) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        names = con.execute(
            "select table_name from duckdb_tables() where schema_name = 'main'"
            " and table_name not like '%_windows' union all"
            " select view_name from duckdb_views() where schema_name = 'main' and not internal"
        ).fetchall()
        return {
            name: con.execute(f'select * from "{name}"').fetchall()
            for (name,) in sorted(names)
            if name not in _NOT_COMPARED
        }


def _order(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(value) for value in row if not isinstance(value, float))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return bool(left == right)


def _assert_equal(
    actual: dict[str, list[tuple[Any, ...]]], expected: dict[str, list[tuple[Any, ...]]]
) -> None:
    assert actual.keys() == expected.keys()
    for name, rows in expected.items():
        got = sorted(actual[name], key=_order)
        want = sorted(rows, key=_order)
        assert len(got) == len(want), name
        for left, right in zip(got, want, strict=True):
            assert all(map(_same, left, right)), (name, left, right)


def _whole(data: DataDir) -> dict[str, list[tuple[Any, ...]]]:
    """Tables of a build of the whole lake; the warehouse stays as it is."""
    kept = data.warehouse.with_suffix(".kept")
    shutil.copy(data.warehouse, kept)
    _build(data, "--full-refresh")
    tables = _tables(data)
    kept.replace(data.warehouse)
    return tables


def test_builds_over_a_growing_lake_equal_one_build_of_all_of_it(tmp_path: Path) -> None:
    """Late readings, another registry, a removed hour's file and an idle run in between."""
    data = DataDir(tmp_path / "lake")
    meters, stored = build_fleet([5])
    events_stored, events_registry = build_events_fleet([5])
    stored += [row for row in events_stored if row["meter_id"] in ("e5-short", "e5-walk")]
    registry = registry_rows(meters) + events_registry
    rng = np.random.default_rng(0)
    early = START + SPAN * 0.45
    rounds: list[list[Row]] = [[], [], []]
    for row in stored:
        number = 0 if row["event_ts"] < early else 1
        rounds[number if rng.random() < 0.9 else 2].append(row)

    _register(data, [row for row in registry if row["meter_id"] != "m5-quarter"])
    _land(data, rounds[0], "first", 0)
    _build(data)
    first = _tables(data)
    assert first["voltage_events"]
    _land(data, rounds[1], "second", 1)
    _build(data)
    _assert_equal(_tables(data), _whole(data))

    # A meter is entered, one leaves, one has another nominal voltage, one another transformer, one
    # no sample interval any more.
    changes: dict[str, Row] = {
        "m5-plain-1": {"nominal_voltage_v": 120.0},
        "m5-plain-2": {"valid_to": START + SPAN / 3},
        "m5-restart": {"transformer_id": "new", "rated_kva": 50.0},
        "m5-minute": {"sample_interval_ms": None},
        "m5-dead": {"valid_from": START + SPAN / 2},
    }
    _register(data, [{**row, **changes.get(row["meter_id"], {})} for row in registry])
    _build(data)
    _assert_equal(_tables(data), _whole(data))

    _land(data, rounds[2], "late", 2)
    _build(data)
    third = _tables(data)
    _assert_equal(third, _whole(data))
    assert third["voltage_events"] != first["voltage_events"]

    _build(data)
    _assert_equal(_tables(data), third)


def _second(at_s: float, voltage_v: float, **other: Any) -> Row:
    event_ts = datetime(2026, 3, 1, 10, 59, tzinfo=UTC) + timedelta(seconds=at_s)
    return {
        "event_ts": event_ts,
        "meter_id": "m1",
        "pole_id": "p1",
        "seq": int(at_s),
        "voltage_v": voltage_v,
        "current_a": 1.0,
        "power_kw": 0.2,
        "quality_flags": [],
        "batch_id": "b",
        "ingest_ts": event_ts + timedelta(seconds=2),
        "event_date": event_ts.date(),
        **other,
    }


def _events(data: DataDir) -> list[tuple[int, int]]:
    """First and last second of every standing event."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        return con.execute(
            "select epoch_us(start_ts)//1000000 - o, epoch_us(end_ts)//1000000 - o"
            " from voltage_events, (select epoch_us(timestamptz '2026-03-01 10:59:00+00')//1000000"
            " as o) order by 1"
        ).fetchall()


def test_late_readings_take_events_back_and_what_if_runs_leave_nothing(tmp_path: Path) -> None:
    """A sag from 50 s to 70 s, over the hour at 60 s, of which more becomes known bit by bit."""
    data = DataDir(tmp_path)
    low = {at: _second(at, 200.0) for at in range(50, 71)}
    high = [_second(at, 240.0) for at in (*range(50), *range(71, 120))]
    _register(data, [])

    # 50 … 54 and 64 are missing: the gap of 5 s before 55 is none, the sag begins at 55.
    _land(data, high + [row for at, row in low.items() if at >= 55 and at != 64], "first", 0)
    _build(data)
    assert _events(data) == [(55, 70)]

    # The start moves.
    _land(data, [row for at, row in low.items() if at < 55], "second", 1)
    _build(data)
    assert _events(data) == [(50, 70)]
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        assert con.execute(
            "select epoch_us(s.start_ts)//1000000 % 60, s.superseded_by = e.event_id"
            " from superseded_events s, voltage_events e"
        ).fetchall() == [(55, True)]

    # With 190 V as threshold there is no event, and no history of it; then all is as before.
    before = _tables(data)
    _build(data, "--vars", "{sag_threshold_v: 190}")
    assert _events(data) == []
    _build(data)
    _assert_equal(_tables(data), before)

    # The voltage had recovered at 64 s: one event is two. A run without the events notes nothing.
    _land(data, [_second(64, 240.0)], "third", 2)
    _build(data, "--exclude", "voltage_events+", "int_meter_hours+")
    assert _events(data) == [(50, 70)]
    _build(data)
    assert _events(data) == [(50, 63), (65, 70)]
    _assert_equal(_tables(data), _whole(data))
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        # The event from 50 s on keeps its id.
        assert con.execute("select count(*) from superseded_events").fetchone() == (1,)


@pytest.mark.slow
def test_builds_killed_at_random_moments_end_in_what_one_build_gives(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    _, stored = build_fleet([7])
    meters, _ = build_fleet([7])
    _register(data, registry_rows(meters))
    rng = np.random.default_rng(7)
    order = rng.permutation(len(stored))
    parts = np.array_split(order, 10)
    for number, part in enumerate(parts):
        _land(data, [stored[i] for i in part], f"part{number}", number)
        killed = start_dbt(data, "build", *MODELS_ONLY)
        try:
            killed.wait(timeout=float(rng.uniform(2.5, 7)))
        except subprocess.TimeoutExpired:
            killed.kill()
            killed.wait()
    _build(data)
    _assert_equal(_tables(data), _whole(data))
