"""Builds that follow each other over a growing lake, against one build of all of it."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np

from ami_contract.lake import DataDir, hour_folder

from .fleet import SPAN, START, Row, build_fleet, registry_rows
from .fleet_events import build_events_fleet
from .growing_lake import (
    assert_same_tables,
    build_models,
    land_rows,
    register,
    tables_of,
    whole_build,
)
from .sparse_lake import CALM_HOUR, changed, day, sparse_lake


def _assert_calm_hour_is_left_alone(data: DataDir) -> None:
    """The lists of windows do not simply hold everything."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        for name in ("int_touched_slot_windows", "int_probed_windows"):
            listed = con.execute(f"select window_ts from {name}").fetchall()
            assert (CALM_HOUR,) not in listed, name


def _assert_second_round_reaches_other_hours(data: DataDir) -> None:
    """Worked out by hand, as a later round may look at these hours again."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        # All was read before and after these low readings.
        events = con.execute(
            "select count(*), count_if(truncated_start or truncated_end) from voltage_events"
            " where meter_id similar to '(beside|within)-.*|steps-back'"
        ).fetchone()
        assert events == (5, 0)
        shown = con.execute(
            "select max(minute_ts) from minute_agg_pole where pole_id = 'pole-until'"
        )
        assert shown.fetchone() == (day(10, 12, 59),)


def test_builds_over_a_growing_lake_equal_one_build_of_all_of_it(tmp_path: Path) -> None:
    """Late readings, other registries, runs that are cut short, removed hours, an idle run."""
    data = DataDir(tmp_path / "lake")
    meters, stored = build_fleet([5])
    events_stored, events_registry = build_events_fleet([5])
    stored += [row for row in events_stored if row["meter_id"] in ("e5-short", "e5-walk")]
    sparse = sparse_lake()
    registry = registry_rows(meters) + events_registry + sparse.registry
    rng = np.random.default_rng(0)
    early = START + SPAN * 0.45
    rounds: list[list[Row]] = [sparse.first, sparse.second, []]
    for row in stored:
        number = 0 if row["event_ts"] < early else 1
        rounds[number if rng.random() < 0.9 else 2].append(row)

    without_one = [row for row in registry if row["meter_id"] != "m5-quarter"]
    register(data, without_one)
    land_rows(data, rounds[0], "first", 0)
    build_models(data)

    land_rows(data, rounds[1], "second", 1)
    build_models(data)
    _assert_calm_hour_is_left_alone(data)
    _assert_second_round_reaches_other_hours(data)

    for left_out, withdrawn in sparse.withdrawn.items():
        register(data, changed(without_one, withdrawn))
        build_models(data, without=tuple(left_out.split()))

    # A meter is entered, one leaves, one has another nominal voltage, one another transformer, one
    # no sample interval any more.
    changes: dict[str, Row] = {
        "m5-plain-1": {"nominal_voltage_v": 120.0},
        "m5-plain-2": {"valid_to": START + SPAN / 3},
        "m5-restart": {"transformer_id": "new", "rated_kva": 50.0},
        "m5-minute": {"sample_interval_ms": None, "valid_to": START + SPAN},
        "m5-dead": {"valid_from": START + SPAN / 2},
        **sparse.changes,
    }
    register(data, changed(registry, changes))
    build_models(data)
    _assert_calm_hour_is_left_alone(data)

    land_rows(data, rounds[2], "late", 2)
    for hour in sparse.removed:
        for folder in (data.readings, data.landing):
            shutil.rmtree(folder / hour_folder(hour))
    build_models(data)
    last = tables_of(data)
    assert_same_tables(last, whole_build(data))

    build_models(data)
    assert_same_tables(tables_of(data), last)
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        assert con.execute("select count(*) from int_touched_windows").fetchone() == (0,)
        con.execute("set TimeZone = 'UTC'")
        slots = con.execute("select min(window_ts) from int_touched_slot_windows").fetchone()
        assert slots == (max(sparse.removed) - timedelta(hours=1),)
