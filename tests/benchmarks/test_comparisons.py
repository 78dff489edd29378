"""What makes a comparison count: reads made-up answers of both sides, checks what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from ami_contract.lake import DataDir
from benchmarks.definition import BenchmarkError
from benchmarks.report import growth_curves
from benchmarks.suite import BENCHMARKS
from benchmarks.suite.answers import check_same_sheds, event_window
from benchmarks.suite.compaction import check_same_readings
from benchmarks.suite.growth import growth_id
from benchmarks.suite.pole_health import check_same_health
from benchmarks.suite.sags import check_same_events
from benchmarks.tasks.compute_health import upstream
from benchmarks.tasks.detect_sags import warehouse

EVENT = "'m' meter_id, 'p' pole_id, {} first_seq, {} last_seq, now()::TIMESTAMPTZ start_ts, now()::TIMESTAMPTZ end_ts, {} sample_count, 200.0 min_voltage_v"  # noqa: E501


def lake(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path / "lake")
    data.warehouse.parent.mkdir(parents=True)
    return data


def written(target: Path, query: str) -> Path:
    duckdb.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")
    return target


@pytest.mark.parametrize(
    ("theirs", "is_same"),
    [
        # Of ours the run of four seconds is no event.
        ("SELECT * EXCLUDE n FROM ours WHERE n = 1", True),
        ("SELECT * EXCLUDE n FROM ours", False),
        ("SELECT * EXCLUDE n REPLACE (last_seq + 1 AS last_seq) FROM ours WHERE n = 1", False),
        ("SELECT * EXCLUDE n FROM ours WHERE n = 3", False),
    ],
)
def test_a_peer_with_other_events_does_not_count(
    tmp_path: Path, theirs: str, is_same: bool
) -> None:
    data = lake(tmp_path)
    with warehouse(data) as con:
        con.execute(
            f"CREATE TABLE int_low_runs AS SELECT {EVENT.format(3, 7, 5)} "
            f"UNION ALL SELECT {EVENT.format(20, 23, 4)}"
        )
        con.execute(
            "CREATE TABLE ours AS "
            "SELECT *, row_number() OVER (ORDER BY first_seq) n FROM int_low_runs"
        )
        con.execute(f"COPY ({theirs}) TO '{tmp_path}/theirs.parquet' (FORMAT parquet)")
    if is_same:
        check_same_events("x", tmp_path / "theirs.parquet", data)
        return
    with pytest.raises(BenchmarkError, match=r"x finds \d events of 1"):
        check_same_events("x", tmp_path / "theirs.parquet", data)


READING = "SELECT 'm' meter_id, {} seq, TIMESTAMPTZ '2026-03-01 00:00Z' event_ts, 240.0 voltage_v, {} power_kw"  # noqa: E501


@pytest.mark.parametrize(("power_kw", "is_same"), [(1.0, True), (1.5, False)])
def test_a_peer_that_keeps_another_copy_does_not_count(
    tmp_path: Path, power_kw: float, is_same: bool
) -> None:
    data = lake(tmp_path)
    data.readings.mkdir(parents=True)
    written(data.readings / "readings-1.parquet", READING.format(1, 1.0))
    theirs = written(tmp_path / "theirs.parquet", READING.format(1, power_kw))
    if is_same:
        check_same_readings("x", theirs, data)
        return
    with pytest.raises(BenchmarkError, match="x keeps 1 of 1 readings"):
        check_same_readings("x", theirs, data)


HEALTH = (
    "SELECT 'p' pole_id, TIMESTAMPTZ '2026-03-01 00:00Z' hour_ts, 100 received, 0.0 pct_low, "
    "230.0 min_voltage_v, 240.0 mean_voltage_v, 245.0 max_voltage_v, 1.0 energy_kwh, 2.0 peak_kw, "
    "0.0 share_out_of_limits, 0 meters_with_event, 0.1 missing_rate, {} loading, {} score"
)


@pytest.mark.parametrize(
    ("loading", "score", "is_same"),
    [(0.5, 90.0, True), (0.5, 90.1, False), ("NULL::DOUBLE", 90.0, False)],
)
def test_a_notebook_with_another_score_does_not_count(
    tmp_path: Path, loading: float | str, score: float, is_same: bool
) -> None:
    data = lake(tmp_path)
    with warehouse(data) as con:
        con.execute(f"CREATE TABLE pole_health_hourly AS {HEALTH.format(0.5, 90.0)}")
    theirs = written(tmp_path / "theirs.parquet", HEALTH.format(loading, score))
    if is_same:
        check_same_health(theirs, data)
        return
    with pytest.raises(BenchmarkError, match="of 1 poles 1 have other figures"):
        check_same_health(theirs, data)


@pytest.mark.parametrize(("shed", "is_same"), [("2.0", True), ("2.1", False), ("NULL", False)])
def test_a_notebook_with_another_shed_does_not_count(
    tmp_path: Path, shed: str, is_same: bool
) -> None:
    rows = "SELECT 'p' pole_id, 5.0 baseline_kwh, {}::DOUBLE shed_kwh"
    ours = written(tmp_path / "ours.parquet", rows.format("2.0"))
    theirs = written(tmp_path / "theirs.parquet", rows.format(shed))
    if is_same:
        check_same_sheds(ours, theirs, 1)
        return
    with pytest.raises(BenchmarkError, match="of 1 poles 0 have the same shed"):
        check_same_sheds(ours, theirs, 1)


def test_models_are_built_after_those_they_are_made_of_and_once() -> None:
    nodes = {
        f"model.ami.{name}": {"depends_on": {"nodes": [*parents]}}
        for name, parents in {
            "base": ["source.ami.lake.readings"],
            "left": ["model.ami.base"],
            "right": ["model.ami.base", "seed.ami.holidays"],
            "top": ["model.ami.left", "model.ami.right"],
            "other": ["model.ami.base"],
        }.items()
    }
    order = [name.removeprefix("model.ami.") for name in upstream(nodes, "top")]
    assert order == ["base", "left", "right", "top"]


def test_an_event_is_on_a_working_day_with_its_rebound_in_the_lake() -> None:
    # 31 March 2026 is a Tuesday; two days before is a Sunday.
    start, end = event_window(datetime(2026, 3, 31, tzinfo=UTC))
    assert start == datetime(2026, 3, 27, 23, tzinfo=UTC)
    assert end == datetime(2026, 3, 28, 1, tzinfo=UTC)


def test_curves_go_over_four_decades_and_those_of_peers_over_three() -> None:
    names = [metric.id for benchmark in BENCHMARKS for metric in benchmark.metrics]
    curves = growth_curves({"results": {name: {"value": 1.0} for name in names}})
    spans = {name: points[-1].readings // points[0].readings for name, points in curves.items()}
    peers = {name: span for name, span in spans.items() if name.startswith("sag_")}
    assert {spans[name] for name in ("generate", "ingest", "compact", "sag")} == {10**4}
    assert set(peers.values()) == {10**3}
    assert len(peers) == 4
    assert growth_id("sag", 10_000, "cpu_s") == "growth.sag.1e4.cpu_s"
