"""Reads an hour's landed files; gives what merging them costs, beside a bare sort and peers.

Every side runs in a process of its own, over the same files.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb

from ami_contract.lake import DataDir
from ami_store.sql import file_list
from benchmarks.backlog import FLEET
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_least,
    at_most,
)
from benchmarks.peers import compaction as peer_compaction
from benchmarks.processes import in_own_process, peer, side_metrics
from benchmarks.simulated_lake import FleetRun, land_run
from benchmarks.tasks import compact
from benchmarks.tasks.compact import LANDED
from simulator.config import load_config

_START: Final = datetime(2026, 3, 1, tzinfo=UTC)
_QUICK_SPAN: Final = timedelta(seconds=100)
_SPAN: Final = timedelta(hours=1)
_REPEATS: Final = 2
_FINGERPRINT: Final = (
    "SELECT count(*), sum(hash(meter_id, seq, epoch_us(event_ts), voltage_v, power_kw)::HUGEINT) "
    "FROM read_parquet({})"
)


def land_fleet(data: DataDir, span: timedelta) -> int:
    """Land `span` of the fleet of 1 000 meters, a file per pole and quarter of an hour.

    Returns:
        Rows landed, copies included.
    """
    data.root.mkdir(parents=True)
    return land_run(data, FleetRun(load_config(FLEET), _START, _START + span))


def fingerprint(files: list[Path]) -> tuple[int, int]:
    """Rows and a hash of them, whatever their order."""
    row = duckdb.execute(_FINGERPRINT.format(file_list(files))).fetchone()
    assert row is not None
    return row[0], row[1]


def check_same_readings(engine: str, theirs: Path, data: DataDir) -> None:
    """Raise BenchmarkError unless a peer kept the same readings as the platform."""
    ours = fingerprint(sorted(data.readings.rglob("readings-*.parquet")))
    if fingerprint([theirs]) != ours:
        raise BenchmarkError(f"{engine} keeps {fingerprint([theirs])[0]} of {ours[0]} readings")


def measure(context: Context) -> Measurements:
    """Cost of each side, one after the other, over the same landed files.

    Raises:
        BenchmarkError: a side failed, or a peer kept other readings.
    """
    data = DataDir(context.work / "lake")
    landed = land_fleet(data, _QUICK_SPAN if context.quick else _SPAN)
    theirs = context.work / "theirs.parquet"
    while True:
        costs = {
            "compact.hour": in_own_process(compact.__name__, "ours", data.root, _REPEATS),
            "compact.limit": in_own_process(compact.__name__, "limit", data.root, _REPEATS),
        }
        if fingerprint([data.root / "limit.parquet"])[0] != landed:
            raise BenchmarkError("the limit did not write all rows")
        for engine in peer_compaction.ENGINES:
            costs[f"compact.{engine}"] = peer(
                peer_compaction.__name__, engine, data.landing / LANDED, theirs, _REPEATS
            )
            check_same_readings(engine, theirs, data)
        ours_s = costs["compact.hour"]["cpu_s"]
        yield {
            f"{side}.{quantity}": value
            for side, cost in costs.items()
            for quantity, value in cost.items()
        } | {
            f"compact.ratio_{name}": costs[f"compact.{name}"]["cpu_s"] / ours_s
            for name in ("limit", *peer_compaction.ENGINES)
        }


_SIDES: Final = {
    "hour": "merging an hour's landed files (3.6 million readings of 1 000 meters in 400 files, "
    "0.1 % stored twice) into the committed, deduplicated, sorted file: copies kept apart, "
    "conflicts counted, steps of `seq` computed, manifest written, all durable",
    "limit": "reading the same files, sorting and writing zstd Parquet in the same DuckDB, nothing "
    "else",
    "duckdb": "the same files by DuckDB alone, `DISTINCT ON` (`benchmarks/peers/compaction.py`)",
    "clickhouse": "the same by ClickHouse (chDB), `LIMIT 1 BY`",
    "polars": "the same by Polars, `sort` and `unique`, streaming engine",
    "pandas": "the same as tutorials do it, pandas `concat`, `sort_values`, `drop_duplicates`",
}
_TARGETS: Final = {
    "limit": at_least(0.4),
    "duckdb": at_least(0.4),
    "clickhouse": None,
    "polars": None,
    "pandas": at_least(1),
}

HOUR: Final = Benchmark(
    (
        *side_metrics("compact", _SIDES, _REPEATS, {"hour.memory_bytes": at_most(1.5e9)}),
        *(
            Metric(
                f"compact.ratio_{side}",
                "ratio",
                target,
                f"CPU time of `compact.{side}` over that of `compact.hour`.",
            )
            for side, target in _TARGETS.items()
        ),
    ),
    runs=2,
    measure=measure,
)
