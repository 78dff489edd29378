"""Sag events against brute force over what arrived, and against what the simulator injected."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from ami_contract.lake import DataDir
from benchmarks.simulated_lake import compact_all

from .conftest import run_dbt
from .injected_sags import Key, SagFleet, Score, is_determined, observed_events, score

SEEDS = range(1, 21)
BUILD = ("build", "--select", "+voltage_events", "--exclude-resource-type", "unit_test")
HEAD = (
    "seed", "readings", "injected", "determined", "exact", "recall", "detected", "bounded", "true",
    "precision", "touched", "unfounded",
)  # fmt: skip


def build(data: DataDir) -> None:
    """Compact what has landed and build the events."""
    compact_all(data)
    done = run_dbt(data, *BUILD)
    assert done.returncode == 0, done.stdout


def detected_events(data: DataDir) -> dict[Key, dict[str, Any]]:
    """`voltage_events` in the form of `observed_events`."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        cursor = con.execute(
            """
            select
                events.meter_id,
                runs.first_seq,
                runs.last_seq,
                events.event_id,
                events.pole_id,
                epoch_us(events.start_ts) as start_us,
                epoch_us(events.end_ts) as end_us,
                events.duration_s,
                events.min_voltage_v,
                round(events.mean_voltage_v, 6) as mean_voltage_v,
                events.sample_count,
                events.missing_count,
                events.truncated_start,
                events.truncated_end
            from voltage_events as events
            join int_low_runs as runs using (meter_id, start_ts, end_ts)
            """
        )
        names = [column[0] for column in cursor.description or []][3:]
        rows = cursor.fetchall()
    found = {tuple(row[:3]): dict(zip(names, row[3:], strict=True)) for row in rows}
    assert len(found) == len(rows)
    return found


def judge(
    root: Path, seed: int, poles: int, span: timedelta, *, in_instalments: bool
) -> tuple[int, Score]:
    """Readings stored and score of one seed; asserts that nothing differs from brute force.

    In instalments the events are built once before what is late has landed.
    """
    data = DataDir(root)
    fleet = SagFleet(seed, poles, span)
    fleet.land_on_time(data)
    if in_instalments:
        build(data)
    fleet.land_late(data)
    build(data)
    observed = fleet.observed()
    expected, actual = observed_events(fleet, observed), detected_events(data)
    assert sorted(actual) == sorted(expected)
    for key, event in expected.items():
        assert actual[key]["mean_voltage_v"] == pytest.approx(event["mean_voltage_v"], abs=2e-6)
        assert {**actual[key], "mean_voltage_v": 0} == {**event, "mean_voltage_v": 0}, key
    return fleet.stored, score(fleet, observed, actual)


def row_of(seed: int, stored: int, found: Score) -> str:
    """A line below `HEAD`."""
    values = (
        seed, stored, found.injected, found.determined, found.exact, f"{found.recall:.5f}",
        found.detected, found.bounded, found.true, f"{found.precision:.5f}",
        f"{found.touched / found.injected:.4f}", found.unfounded,
    )  # fmt: skip
    return " ".join(f"{value:>10}" for value in values)


def test_events_of_a_faulty_fleet_are_what_its_samples_tell(tmp_path: Path) -> None:
    _, found = judge(tmp_path, 4, poles=20, span=timedelta(minutes=40), in_instalments=True)

    assert found.determined > 50
    assert found.determined < found.injected, "some are obscured"
    assert found.recall >= 0.999
    assert found.precision >= 0.999
    assert found.unfounded == 0


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_twenty_seeds_of_a_thousand_meters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    totals: list[Score] = []
    for seed in SEEDS:
        stored, found = judge(
            tmp_path / str(seed),
            seed,
            poles=100,
            span=timedelta(hours=2),
            in_instalments=seed % 5 == 1,
        )
        totals.append(found)
        with capsys.disabled():
            if seed == SEEDS[0]:
                print("\n" + " ".join(f"{name:>10}" for name in HEAD))
            print(row_of(seed, stored, found), flush=True)
        _remove(tmp_path / str(seed))

    for found in totals:
        assert found.recall >= 0.999
        assert found.precision >= 0.999
        assert found.unfounded == 0


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([], True),
        ([9], False),
        ([10], False),
        ([30], False),
        ([31], False),
        ([12, 13, 14, 15, 16], True),
        ([12, 13, 14, 15, 16, 17], False),
    ],
)
def test_a_run_is_determined_by_its_edges_and_short_holes(
    missing: list[int], expected: bool
) -> None:
    received = np.ones(60, dtype=np.bool_)
    received[missing] = False

    assert is_determined(received, 10, 30) is expected
    assert not is_determined(received, 0, 30), "nothing is known before the first sample"
