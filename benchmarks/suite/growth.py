"""Reads sizes of input; gives how time and memory of each hop grow over four decades of it.

Every point is a process of its own, so that its peak memory is that size's alone. The curve of sag
detection comes from `benchmarks.suite.sags`, which has the lakes for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from benchmarks.definition import Benchmark, Context, Measurements, Metric
from benchmarks.processes import QUANTITIES, in_own_process
from benchmarks.suite.compaction import land_fleet
from benchmarks.tasks import compact, generate, ingest

_METERS: Final = 1000
_REPEATS: Final = 3
_REPEATED_UP_TO: Final = 1_000_000
_QUICK_MOST: Final = 100_000


def growth_id(curve: str, readings: int, quantity: str) -> str:
    """Id of a point, such as `growth.ingest.1e6.cpu_s`; `readings` is a power of ten."""
    return f"growth.{curve}.1e{len(str(readings)) - 1}.{quantity}"


def growth_metrics(curve: str, sizes: Sequence[int], what: str) -> tuple[Metric, ...]:
    """Metrics of a curve's points.

    Args:
        curve: its name.
        sizes: readings of the points, powers of ten.
        what: is measured; a clause that the number of readings is put in front of.
    """
    return tuple(
        Metric(growth_id(curve, size, quantity), unit, None, f"{size:,} readings: {what}")
        for size in sizes
        for quantity, unit in QUANTITIES.items()
    )


def measure(hop: str, sizes: Sequence[int], context: Context) -> Measurements:
    """Cost of a hop for one size after the other.

    Raises:
        BenchmarkError: a process failed, or readings got lost.
    """
    while True:
        found = {}
        for readings in sizes:
            if context.quick and readings > _QUICK_MOST:
                break
            folder = context.work / str(readings)
            for quantity, value in point(hop, readings, folder).items():
                found[growth_id(hop, readings, quantity)] = value
            shutil.rmtree(folder, ignore_errors=True)
        yield found


def point(hop: str, readings: int, folder: Path) -> dict[str, float]:
    """Cost of a hop for one size, in a process of its own."""
    if hop == "generate":
        return in_own_process(generate.__name__, readings)
    if hop == "ingest":
        return in_own_process(ingest.__name__, readings, folder)
    data = DataDir(folder)
    land_fleet(data, timedelta(seconds=readings / _METERS))
    repeats = _REPEATS if readings <= _REPEATED_UP_TO else 1
    return in_own_process(compact.__name__, "ours", data.root, repeats)


def _benchmark(hop: str, sizes: Sequence[int], what: str) -> Benchmark:
    return Benchmark(growth_metrics(hop, sizes, what), runs=1, measure=partial(measure, hop, sizes))


GENERATE: Final = _benchmark(
    "generate",
    [10**n for n in range(4, 9)],
    "simulated and encoded as Arrow payloads, 1 000 meters.",
)
INGEST: Final = _benchmark(
    "ingest",
    [10**n for n in range(4, 9)],
    "ingested from Arrow messages of up to 500 in memory, archive and landing durable.",
)
COMPACT: Final = _benchmark(
    "compact",
    [10**n for n in range(3, 8)],
    "landed files of 1 000 meters compacted, hour by hour.",
)
