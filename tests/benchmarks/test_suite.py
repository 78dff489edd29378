"""The suite itself: reads its declarations and runs small measurements of the real platform."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from ami_contract.lake import DataDir
from beam_jobs.elements import Message
from beam_jobs.local import Totals
from benchmarks.backlog import check_stored, drain_memory, make_backlog
from benchmarks.definition import BenchmarkError, Context
from benchmarks.limits import arrow_to_parquet, json_to_parquet, write_ndjson
from benchmarks.peers.tutorial_generator import (
    arrow_payloads,
    json_payloads,
    make_meters,
    readings,
)
from benchmarks.suite import (
    BENCHMARKS,
    generation,
)
from benchmarks.suite.demo import run_logged
from benchmarks.suite.ingestion import measure
from benchmarks.suite.serving import growth_mb

FRAME = {
    "demo.check.wall_s": ("at_most", 120),
    "generate.arrow.readings_per_s": ("at_least", 1_000_000),
    "generate.json.readings_per_s": ("at_least", 250_000),
    "generate.arrow.ratio_tutorial": ("at_least", 5),
    "generate.json.ratio_tutorial": ("at_least", 5),
    "ingest.json.readings_per_s": ("at_least", 250_000),
    "ingest.json.ratio_tutorial": ("at_least", 1000),
    "ingest.json.ratio_limit": ("at_least", 0.4),
    "ingest.arrow.readings_per_s": ("at_least", 700_000),
    "ingest.arrow.ratio_limit": ("at_least", 0.4),
    "latency.landing.p95_s": ("at_most", 5),
    "sag.ratio_scan": ("at_most", 1.5),
    "sag.ratio_tutorial": ("at_least", 20),
    "api.summary.p95_ms": ("at_most", 50),
    "api.summary.requests_per_s": ("at_least", 300),
}


def test_the_frame_is_declared_once_with_its_targets() -> None:
    metrics = [metric for benchmark in BENCHMARKS for metric in benchmark.metrics]
    assert len({metric.id for metric in metrics}) == len(metrics)
    declared = {m.id: (m.target.direction.value, m.target.value) for m in metrics if m.target}
    assert {name: declared.get(name) for name in FRAME} == FRAME


def test_payloads_hold_every_sample_of_every_block() -> None:
    config = generation.load_config(generation.FLEET, {"payload": "arrow", "poles": 10})
    poles = [generation.PoleMeters(config, p) for p in generation.build_fleet(config).poles[:2]]
    assert generation.make_payloads(poles, "arrow", 1_000, 2) == 2 * 10 * 300 * 2


@pytest.mark.parametrize("payloads", [json_payloads, arrow_payloads])
def test_the_tutorials_loop_makes_every_reading(payloads: Callable[..., int]) -> None:
    assert payloads(make_meters(70), datetime(2026, 3, 1, tzinfo=UTC), 50) == 3500


def test_the_tutorials_readings_are_ones_that_the_ingest_takes(tmp_path: Path) -> None:
    made = list(readings(make_meters(3), datetime(2026, 3, 1, tzinfo=UTC), 5))
    message = Message(
        "1",
        datetime(2026, 3, 1, 1, tzinfo=UTC),
        {"content_type": "application/json", "batch_id": "b"},
        json.dumps(made).encode(),
    )
    data = DataDir(tmp_path)
    totals = drain_memory([message], message.publish_time, data).totals
    check_stored(totals, data, 15)


def test_no_block_is_simulated_twice() -> None:
    asked = []

    class Recorder:
        def samples(self, first_tick: int, end_tick: int) -> None:
            asked.append((first_tick, end_tick))

    meters = cast("generation.PoleMeters", Recorder())
    assert generation.make_payloads([meters], "arrow", 1_000, 3) == 0
    assert asked == [(1_000, 1_300), (1_300, 1_600), (1_600, 1_900)]


@pytest.mark.parametrize("payload", ["json", pytest.param("arrow", marks=pytest.mark.slow)])
def test_a_quick_ingest_is_stored_whole_and_compared_with_its_limit(
    tmp_path: Path, payload: str
) -> None:
    measurements = measure(payload, Context(quick=True, work=tmp_path))
    values = next(measurements)
    measurements.close()
    assert values.keys() == {
        f"ingest.{payload}.readings_per_s",
        f"ingest.{payload}.ratio_limit",
        f"ingest.{payload}.ratio_limit_with_server",
    }
    assert all(value > 0 for value in values.values())


@pytest.mark.parametrize("payload", ["json", "arrow"])
def test_the_limit_writes_the_same_readings_as_the_ingest(tmp_path: Path, payload: str) -> None:
    import duckdb

    backlog = make_backlog(payload, 50_000)
    assert backlog.readings == 50_000
    assert len(backlog.messages) == 100
    target = tmp_path / "limit.parquet"
    if payload == "json":
        write_ndjson(backlog.payloads, tmp_path / "limit.ndjson")
        json_to_parquet(tmp_path / "limit.ndjson", target)
    else:
        arrow_to_parquet(backlog.payloads, target)
    data = DataDir(tmp_path / "lake")
    totals = drain_memory(backlog.messages, backlog.now, data).totals
    check_stored(totals, data, backlog.readings)
    digest = (
        "SELECT count(*), sum(hash(meter_id, seq, epoch_us(event_ts), voltage_v, current_a, "
        "power_kw, freq_hz)) FROM read_parquet('{}')"
    )
    ours = duckdb.execute(digest.format(f"{data.landing}/*/*/*.parquet")).fetchone()
    assert duckdb.execute(digest.format(target)).fetchone() == ours
    assert ours is not None
    assert ours[0] == 50_000


def test_an_ingest_that_stores_too_little_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="500 readings in 0 messages gave 0 landed rows"):
        check_stored(Totals(), DataDir(tmp_path), 500)


def test_a_command_is_run_without_the_callers_settings_and_its_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMI_DATA_DIR", "/nowhere")
    log = tmp_path / "log"
    code = "import os; print('AMI_DATA_DIR' in os.environ); raise SystemExit(3)"
    assert run_logged([sys.executable, "-c", code], log, longest_s=30) == 3
    assert log.read_text() == "False\n"


def test_a_command_that_does_not_end_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import time\nprint('up', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('tidied', flush=True)"
    )
    log = tmp_path / "log"
    with pytest.raises(BenchmarkError, match="did not end within 2 s: up"):
        run_logged([sys.executable, "-I", "-S", "-c", code], log, longest_s=2)
    assert log.read_text() == "up\ntidied\n"


def test_memory_growth_is_the_slope_of_what_settled() -> None:
    settling = [(float(second), 900_000_000 - second) for second in range(60)]
    # Two snapshots are held for a moment after each swap.
    swapping = [
        (float(second), 200_000_000 + 50_000 * second + (30_000_000 if second % 2 else 0))
        for second in range(60, 660)
    ]

    assert growth_mb(settling + swapping, 60, 600) == pytest.approx(30, rel=0.01)
    with pytest.raises(BenchmarkError, match="seen 9 times"):
        growth_mb(swapping[:9], 60, 600)
