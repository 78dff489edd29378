"""Reads simulated messages; gives how the ingest's cost and memory grow, and what faults cost it.

Messages stand ready in memory, so that only the ingest is measured. The long run is a process of
its own, whose resident memory is looked at after every batch:

    python -m benchmarks.suite.ingestion_growth READINGS FOLDER
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import psutil

from ami_contract.lake import DataDir
from beam_jobs.elements import Message
from benchmarks.backlog import (
    Backlog,
    MemorySource,
    drain,
    drain_memory,
    endless,
    make_backlog,
)
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_most,
    measured,
)
from benchmarks.processes import in_own_process

_LONG_READINGS: Final = 20_000_000
_QUICK_LONG_READINGS: Final = 500_000
_SIZES: Final = (10_000, 100_000, 1_000_000)
_BLOCK_READINGS: Final = 500_000
_BAD_READINGS: Final = 500_000
_QUICK_READINGS: Final = 50_000
_REPEATS: Final = 5


def long_run(readings: int, folder: Path) -> dict[str, float]:
    """CPU time per reading (ns), and peak resident memory (bytes) of each half of a long run."""
    backlog = make_backlog("json", _BLOCK_READINGS)
    process = psutil.Process()
    seen: list[int] = []

    class Watched(MemorySource):
        def acknowledge(self, ack_ids: Any) -> None:
            super().acknowledge(ack_ids)
            seen.append(process.memory_info().rss)

    drain_memory(backlog.messages, backlog.now, DataDir(folder / "warm-up"))
    source = Watched(endless(backlog, readings))
    drained, cost = measured(partial(drain, source, backlog.now, DataDir(folder / "lake")))
    stored = drained.totals.counters["stored"]
    if stored != readings:
        raise BenchmarkError(f"{stored} of {readings} readings were stored")
    middle = len(seen) // 2
    return {
        "cpu_ns": cost.cpu_s / readings * 1e9,
        "first_half_bytes": max(seen[:middle]),
        "second_half_bytes": max(seen[middle:]),
    }


def measure_growth(context: Context) -> Measurements:
    """Cost per reading of the longest run over that of the dearest short one, and memory.

    Raises:
        BenchmarkError: a run failed or lost a reading.
    """
    readings = _QUICK_LONG_READINGS * 2 if context.quick else _LONG_READINGS
    sizes = _SIZES[:2] if context.quick else _SIZES
    backlogs = [make_backlog("json", size) for size in sizes]
    lake = context.work / "lake"
    while True:
        shutil.rmtree(context.work, ignore_errors=True)
        context.work.mkdir()
        drain_memory(backlogs[0].messages, backlogs[0].now, DataDir(lake / "warm-up"))
        costs_ns = [cost_ns(backlog, lake / str(backlog.readings)) for backlog in backlogs]
        shutil.rmtree(lake)
        found = in_own_process(__name__, readings, context.work)
        shutil.rmtree(context.work / "lake", ignore_errors=True)
        yield {
            "ingest.growth.memory_ratio": found["second_half_bytes"] / found["first_half_bytes"],
            "ingest.growth.memory_bytes": found["second_half_bytes"],
            "ingest.growth.cost_ratio": found["cpu_ns"] / costs_ns[-1],
            "ingest.growth.fixed_ms": (costs_ns[0] - costs_ns[-1]) * backlogs[0].readings / 1e6,
        }


def cost_ns(backlog: Backlog, root: Path) -> float:
    """CPU time per reading (ns) of draining a backlog, the least of some repeats."""
    repeats = range(max(1, min(_REPEATS, 1_000_000 // backlog.readings)))
    costs = []
    for number in repeats:
        data = DataDir(root / str(number))
        _, cost = measured(partial(drain_memory, backlog.messages, backlog.now, data))
        costs.append(cost.cpu_s / backlog.readings * 1e9)
    return min(costs)


def _out_of_range(reading: dict[str, Any]) -> dict[str, Any]:
    return reading | {"voltage_v": 5000.0}


def _wrong_type(reading: dict[str, Any]) -> dict[str, Any]:
    return reading | {"seq": 1.5}


def with_bad_reading(
    messages: list[Message], spoil: Callable[[dict[str, Any]], dict[str, Any]], every: int
) -> list[Message]:
    """Messages of which every so many one has a spoilt reading in its middle."""
    found = list(messages)
    for number in range(0, len(found), every):
        readings = orjson.loads(found[number].data)
        readings[len(readings) // 2] = spoil(readings[len(readings) // 2])
        found[number] = found[number]._replace(data=orjson.dumps(readings))
    return found


def measure_bad(context: Context) -> Measurements:
    """Throughput lost to bad readings, as a share.

    Raises:
        BenchmarkError: not exactly the bad readings were refused.
    """
    backlog = make_backlog("json", _QUICK_READINGS if context.quick else _BAD_READINGS)
    inputs = {
        "good": backlog.messages,
        "out_of_range": with_bad_reading(backlog.messages, _out_of_range, 1),
        "wrong_type": with_bad_reading(backlog.messages, _wrong_type, len(backlog.messages)),
        "wrong_type_in_each_message": with_bad_reading(backlog.messages, _wrong_type, 1),
    }
    refused = {"good": 0, "wrong_type": 1}
    number = itertools.count()
    drain_memory(backlog.messages, backlog.now, DataDir(context.work / "warm-up"))
    while True:
        wall_s = {}
        for name, messages in inputs.items():
            root = context.work / str(next(number))
            begun = time.perf_counter()
            drained = drain_memory(messages, backlog.now, DataDir(root))
            wall_s[name] = drained.last_batch_at - begun
            shutil.rmtree(root)
            if drained.totals.refused != refused.get(name, len(messages)):
                raise BenchmarkError(f"{name}: {drained.totals.refused} readings were refused")
        yield {
            f"ingest.bad.{name}.cost_share": 1 - wall_s["good"] / wall_s[name]
            for name in inputs
            if name != "good"
        }


GROWTH: Final = Benchmark(
    (
        Metric(
            "ingest.growth.memory_ratio",
            "ratio",
            at_most(1.1),
            f"peak resident memory in the second half of a run over {_LONG_READINGS:,} readings "
            "(JSON messages of 500) over that of the first half.",
        ),
        Metric(
            "ingest.growth.memory_bytes",
            "bytes",
            at_most(2e9),
            "peak resident memory of that run's process, its input included.",
        ),
        Metric(
            "ingest.growth.cost_ratio",
            "ratio",
            at_most(1.1),
            f"CPU time per reading of that run over that of a run over {_SIZES[-1]:,} readings.",
        ),
        Metric(
            "ingest.growth.fixed_ms",
            "ms",
            at_most(500),
            f"CPU time that a run over {_SIZES[0]:,} readings takes beyond the same cost per "
            "reading: building the graph and one batch's overhead.",
        ),
    ),
    runs=2,
    measure=measure_growth,
)

_BAD: Final = {
    "out_of_range": (0.2, "a reading out of range in every message of 500"),
    "wrong_type": (0.2, "one reading of a wrong type among all"),
    "wrong_type_in_each_message": (0.2, "a reading of a wrong type in every message of 500"),
}
BAD: Final = Benchmark(
    tuple(
        Metric(
            f"ingest.bad.{name}.cost_share",
            "share",
            at_most(most),
            f"wall time that {what} adds, as a share of the whole; {_BAD_READINGS:,} readings.",
        )
        for name, (most, what) in _BAD.items()
    ),
    measure=measure_bad,
)

if __name__ == "__main__":
    print(json.dumps(long_run(int(sys.argv[1]), Path(sys.argv[2]))))
