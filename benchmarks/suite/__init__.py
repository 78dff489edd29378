"""The suite: reads its modules, gives every benchmark in the order of the way of a reading."""

from __future__ import annotations

from typing import Final

from benchmarks.definition import Benchmark
from benchmarks.suite import (
    answers,
    compaction,
    demo,
    generation,
    growth,
    ingestion,
    ingestion_growth,
    ingestion_peers,
    latency,
    pole_health,
    publishing,
    sags,
    serving,
    tick,
    up,
)

BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    demo.CHECK,
    up.START,
    generation.ARROW,
    generation.JSON,
    growth.GENERATE,
    publishing.JSON,
    publishing.ARROW,
    publishing.SINGLE,
    ingestion.JSON,
    ingestion.ARROW,
    ingestion.SINGLE,
    ingestion_peers.PEERS,
    ingestion_growth.GROWTH,
    ingestion_growth.BAD,
    growth.INGEST,
    latency.LANDING,
    compaction.HOUR,
    growth.COMPACT,
    sags.RATIOS,
    sags.GROWTH,
    pole_health.HOUR,
    tick.SAGS,
    serving.API,
    serving.MEMORY,
    answers.PERSON,
)
