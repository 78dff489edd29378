"""Builds that follow each other over a growing lake, against one build of all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ami_contract.lake import DataDir

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

    register(data, [row for row in registry if row["meter_id"] != "m5-quarter"])
    land_rows(data, rounds[0], "first", 0)
    build_models(data)
    first = tables_of(data)
    assert first["voltage_events"]
    land_rows(data, rounds[1], "second", 1)
    build_models(data)
    assert_same_tables(tables_of(data), whole_build(data))

    # A meter is entered, one leaves, one has another nominal voltage, one another transformer, one
    # no sample interval any more.
    changes: dict[str, Row] = {
        "m5-plain-1": {"nominal_voltage_v": 120.0},
        "m5-plain-2": {"valid_to": START + SPAN / 3},
        "m5-restart": {"transformer_id": "new", "rated_kva": 50.0},
        "m5-minute": {"sample_interval_ms": None},
        "m5-dead": {"valid_from": START + SPAN / 2},
    }
    register(data, [{**row, **changes.get(row["meter_id"], {})} for row in registry])
    build_models(data)
    assert_same_tables(tables_of(data), whole_build(data))

    land_rows(data, rounds[2], "late", 2)
    build_models(data)
    third = tables_of(data)
    assert_same_tables(third, whole_build(data))
    assert third["voltage_events"] != first["voltage_events"]

    build_models(data)
    assert_same_tables(tables_of(data), third)
