"""Lakes that benchmarks and tests simulate: what arrives, and hours that are repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from ami_contract.lake import DataDir
from ami_store.lake import hours
from ami_store.views import create_lake_views
from benchmarks.definition import BenchmarkError
from benchmarks.peers.tutorial_sag import ISLANDS_SQL
from benchmarks.simulated_lake import FleetRun, Lateness, compact_all, land_run, repeat_hours
from benchmarks.suite.sags import check_same_sags, linked_lake
from simulator.config import SimulationConfig, parse_config
from simulator.truth import sum_totals

START = datetime(2026, 3, 1, 22, tzinfo=UTC)


def small_config(**changes: object) -> SimulationConfig:
    """Two meters on one pole at 0.1 Hz."""
    return parse_config(
        {"seed": 5, "pole_id": "pole", "num_meters": 2, "sample_hz": 0.1, "batch_interval_s": 60}
        | changes
    )


def test_what_is_dropped_does_not_arrive_and_copies_and_late_readings_do() -> None:
    config = small_config(drop_prob=0.1, duplicate_prob=0.1, reorder_prob=0.1)
    run = FleetRun(config, START, START + timedelta(hours=2), Lateness(0.2, 0.05, 3600))
    arrived = list(run.arrivals())
    totals = sum_totals(truth.totals() for truth in run.truths)
    copies = np.concatenate([part.samples.seq * 2 + part.samples.meter for part in arrived])
    delays_s = np.concatenate([p.ingest_us / 1e6 - p.samples.event_ms / 1e3 for p in arrived])

    assert totals.generated == 2 * 720
    assert totals.dropped > 50
    assert len(copies) == totals.copies
    assert len(np.unique(copies)) == totals.generated - totals.dropped
    assert 0.1 < (delays_s > 400).mean() < 0.5
    assert delays_s.min() == pytest.approx(2.0)
    assert delays_s.max() <= 2 + 3600 + 2 * 4 * 60
    assert all((np.diff(part.ingest_us) >= 0).all() for part in arrived)


def test_repeated_hours_count_on_in_seq_and_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "lake")
    config = small_config(duplicate_prob=0.1)
    land_run(data, FleetRun(config, START, START + timedelta(hours=2)))
    assert compact_all(data) == 2 * 720

    repeat_hours(data, 5, samples_per_hour=360)
    assert [hour.start for hour in hours(data)] == [START + timedelta(hours=n) for n in range(5)]
    assert sum(hour.manifest.rows for hour in hours(data)) == 5 * 720
    with duckdb.connect() as con:
        create_lake_views(con, data)
        steps = con.execute(
            """
            SELECT DISTINCT
                seq - lag(seq) OVER meter,
                epoch(event_ts - lag(event_ts) OVER meter),
                event_date = event_ts::DATE
            FROM lake.compacted_readings
            WINDOW meter AS (PARTITION BY meter_id ORDER BY event_ts)
            ORDER BY ALL
            """
        ).fetchall()
    assert steps == [(1, 10.0, True), (None, None, True)]

    files = sorted(data.readings.glob("*/*/readings-*.parquet"))
    assert len({tuple(pq.read_schema(file).names) for file in files}) == 1

    part = DataDir(tmp_path / "part")
    assert linked_lake(part, data, 3) == 3 * 720
    assert len(list(hours(part))) == 3


def test_the_tutorial_finds_five_low_readings_in_a_row_and_not_four() -> None:
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA lake")
        con.execute(
            """
            CREATE TABLE lake.compacted_readings AS
            SELECT
                meter_id,
                'p' AS pole_id,
                TIMESTAMPTZ '2026-03-01 00:00:00Z' + s * INTERVAL 1 SECOND AS event_ts,
                CASE WHEN s BETWEEN 3 AND 6 + extra OR s = 20 THEN 200.0 ELSE 240.0 END
                    AS voltage_v
            FROM range(30) AS seconds (s), (VALUES ('four', 0), ('five', 1)) AS m (meter_id, extra)
            """
        )
        found = con.execute(f"SELECT meter_id, sample_count FROM ({ISLANDS_SQL})").fetchall()
    assert found == [("five", 5)]


@pytest.mark.parametrize(("found", "is_right"), [(99, True), (98, False), (0, False)])
def test_islands_that_are_no_low_runs_fail_the_measurement(found: int, is_right: bool) -> None:
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE islands AS SELECT 'm' meter_id, n start_ts, n end_ts FROM range(100) t(n)"
        )
        con.execute(f"CREATE TABLE int_low_runs AS FROM islands WHERE start_ts < {found}")
        if is_right:
            check_same_sags(con)
            return
        with pytest.raises(BenchmarkError, match=f"of 100 sags .* {found} are low runs"):
            check_same_sags(con)
