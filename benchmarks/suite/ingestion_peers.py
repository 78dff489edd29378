"""Reads simulated messages; gives our ingest's rate over that of tutorials' graphs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from beam_jobs.bounded import BoundedGraph
from beam_jobs.elements import MessageBatch
from benchmarks.backlog import (
    PROJECT,
    SUBSCRIPTION,
    LocalPubSub,
    drain_memory,
    local_pubsub,
    make_backlog,
)
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_least,
    measured,
)
from benchmarks.peers.tutorial_ingest import PerElement
from benchmarks.suite.ingestion import measure_drain

_READINGS: Final = 3_000_000
_PER_ELEMENT_READINGS: Final = 100_000
_QUICK_READINGS: Final = 50_000
_SINGLE_READINGS: Final = 5_000
_STREAMING_S: Final = 20.0
_QUICK_STREAMING_S: Final = 3.0
_FIRST_ROW_S: Final = 60.0


def measure(context: Context) -> Measurements:
    """Rate of our ingest over the streaming tutorial's and over the per-element graph's.

    Raises:
        BenchmarkError: a peer stored nothing.
    """
    readings = _QUICK_READINGS if context.quick else _READINGS
    backlog = make_backlog("json", readings)
    few = make_backlog("json", min(readings, _PER_ELEMENT_READINGS))
    single = make_backlog("json", _SINGLE_READINGS, per_message=1)
    seconds = _QUICK_STREAMING_S if context.quick else _STREAMING_S
    root, rows = context.work / "lake", context.work / "rows"
    graph = BoundedGraph(PerElement(rows))
    while True:
        shutil.rmtree(rows, ignore_errors=True)
        batch = MessageBatch("all", few.now, few.messages)
        _, theirs = measured(partial(graph.run, [batch]))
        if not any(rows.glob("*.parquet")):
            raise BenchmarkError("the per-element graph stored nothing")
        shutil.rmtree(root, ignore_errors=True)
        drain_memory(few.messages[:1], few.now, DataDir(root))
        drained, ours = measured(
            partial(drain_memory, backlog.messages, backlog.now, DataDir(root))
        )
        assert drained.totals.counters["stored"] == backlog.readings
        with local_pubsub(context.work / "pubsub") as server:
            server.source().close()
            wall_s, _, _ = measure_drain(server, backlog, root)
            server.publish(single.messages)
            tutorial_per_s = streaming_rate(server, context.work / "lines.jsonl", seconds)
        yield {
            "ingest.json.ratio_tutorial": backlog.readings / wall_s / tutorial_per_s,
            "ingest.json.ratio_per_element": (theirs.cpu_s / few.readings)
            / (ours.cpu_s / backlog.readings),
        }


def streaming_rate(server: LocalPubSub, target: Path, seconds: float) -> float:
    """Readings/s of the streaming tutorial, from its first row on.

    Raises:
        BenchmarkError: no row came.
    """
    target.unlink(missing_ok=True)
    environment = os.environ | {"PUBSUB_EMULATOR_HOST": server.endpoint}
    subscription = f"projects/{PROJECT}/subscriptions/{SUBSCRIPTION}"
    command = [sys.executable, "-m", "benchmarks.peers.tutorial_ingest", subscription, str(target)]
    with target.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _FIRST_ROW_S
        while not (rows_before := _lines(target)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"the tutorial's graph stored nothing, see {log.name}")
            time.sleep(0.05)
        begun = time.perf_counter()
        time.sleep(seconds)
        return (_lines(target) - rows_before) / (time.perf_counter() - begun)
    finally:
        process.kill()
        process.wait()


def _lines(target: Path) -> int:
    return target.read_bytes().count(b"\n") if target.exists() else 0


PEERS: Final = Benchmark(
    (
        Metric(
            "ingest.json.ratio_tutorial",
            "ratio",
            at_least(1000),
            "readings/s of the ingest (JSON messages of 500, from the embedded Pub/Sub) over those "
            "of a graph with one message per reading on Beam's streaming DirectRunner, as "
            "tutorials write it, from the same server.",
        ),
        Metric(
            "ingest.json.ratio_per_element",
            "ratio",
            at_least(10),
            "CPU time of the tutorial's DoFns, one element per reading, on our bounded runner over "
            "that of our graph per reading, for the same kind of messages in memory.",
        ),
    ),
    runs=3,
    measure=measure,
)
