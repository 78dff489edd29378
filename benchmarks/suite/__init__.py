"""The suite: reads its modules, gives every benchmark in the order of the way of a reading."""

from __future__ import annotations

from typing import Final

from benchmarks.definition import Benchmark
from benchmarks.suite import demo, generation, ingestion, planned

BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    demo.CHECK,
    generation.ARROW,
    generation.JSON,
    ingestion.JSON,
    planned.INGEST_TUTORIAL,
    ingestion.ARROW,
    planned.LANDING_LATENCY,
    planned.SAG,
    planned.API,
)
