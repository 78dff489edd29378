"""The suite: reads its modules, gives every benchmark in the order of the way of a reading."""

from __future__ import annotations

from typing import Final

from benchmarks.definition import Benchmark
from benchmarks.suite import (
    demo,
    generation,
    ingestion,
    ingestion_growth,
    ingestion_peers,
    latency,
    sags,
    serving,
    tick,
)

BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    demo.CHECK,
    generation.ARROW,
    generation.JSON,
    ingestion.JSON,
    ingestion.ARROW,
    ingestion.SINGLE,
    ingestion_peers.PEERS,
    ingestion_growth.GROWTH,
    ingestion_growth.BAD,
    latency.LANDING,
    sags.RATIOS,
    sags.GROWTH,
    tick.SAGS,
    serving.API,
    serving.MEMORY,
)
