"""Reads simulated messages; gives the rate of the local ingest and its share of the limit.

A backlog waits in the embedded Pub/Sub, which runs as a process of its own; publishing it is not
measured. The ingest pulls, decodes, validates, enriches, writes archive and landing durably and
acknowledges, with the settings' defaults.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from benchmarks.backlog import (
    READINGS_PER_MESSAGE,
    Backlog,
    LocalPubSub,
    check_stored,
    drain,
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
from benchmarks.limits import arrow_to_parquet, json_to_parquet, write_ndjson

_READINGS: Final = {"json": 3_000_000, "arrow": 3_000_000, "single": 60_000}
_QUICK_READINGS: Final = {"json": 50_000, "arrow": 50_000, "single": 2_000}
_WARM_UP_MESSAGES: Final = 20


def prepare_limit(payload: str, backlog: Backlog, work: Path) -> Callable[[], None]:
    """The limit of the same readings, ready to be run again and again."""
    target = work / "limit.parquet"
    if payload == "arrow":
        return partial(arrow_to_parquet, backlog.payloads, target)
    source = work / "limit.ndjson"
    write_ndjson(backlog.payloads, source)
    return partial(json_to_parquet, source, target)


def measure_drain(server: LocalPubSub, backlog: Backlog, root: Path) -> tuple[float, float, float]:
    """Wall time, CPU time of the ingest and CPU time of the server (s) of draining a backlog.

    Raises:
        BenchmarkError: a reading was refused or not stored.
    """
    shutil.rmtree(root, ignore_errors=True)
    server.publish(backlog.messages)
    source = server.source()
    server_cpu_s, begun = server.cpu_s, time.perf_counter()
    drained, cost = measured(partial(drain, source, backlog.now, DataDir(root)))
    source.close()
    if drained.totals.counters["messages"] != len(backlog.messages):
        raise BenchmarkError("not every message of the backlog came")
    check_stored(drained.totals, DataDir(root), backlog.readings)
    return drained.last_batch_at - begun, cost.cpu_s, server.cpu_s - server_cpu_s


def measure(payload: str, context: Context) -> Measurements:
    """Rate of draining a backlog, and the limit's CPU time over ours; the two take turns.

    Raises:
        BenchmarkError: a reading was refused or not stored.
    """
    readings = (_QUICK_READINGS if context.quick else _READINGS)[payload]
    backlog = make_backlog(payload, readings)
    limit = prepare_limit(payload, backlog, context.work)
    root = context.work / "lake"
    with local_pubsub(context.work / "pubsub") as server:
        server.source().close()
        warm_up = Backlog(backlog.messages[:_WARM_UP_MESSAGES], 0, backlog.now)
        server.publish(warm_up.messages)
        drain(server.source(), backlog.now, DataDir(root))
        limit()
        while True:
            wall_s, cpu_s, server_cpu_s = measure_drain(server, backlog, root)
            _, least = measured(limit)
            yield {
                f"ingest.{payload}.readings_per_s": backlog.readings / wall_s,
                f"ingest.{payload}.ratio_limit": least.cpu_s / cpu_s,
                f"ingest.{payload}.ratio_limit_with_server": least.cpu_s / (cpu_s + server_cpu_s),
            }


def measure_single(context: Context) -> Measurements:
    """Rate of draining messages that hold one reading each."""
    readings = (_QUICK_READINGS if context.quick else _READINGS)["single"]
    backlog = make_backlog("json", readings, per_message=1)
    root = context.work / "lake"
    with local_pubsub(context.work / "pubsub") as server:
        server.source().close()
        while True:
            wall_s, _, _ = measure_drain(server, backlog, root)
            yield {"ingest.single.messages_per_s": backlog.readings / wall_s}


def _benchmark(payload: str, form: str, least_rate: float, limit: str) -> Benchmark:
    return Benchmark(
        (
            Metric(
                f"ingest.{payload}.readings_per_s",
                "readings/s",
                at_least(least_rate),
                f"draining a backlog of {_READINGS[payload]:,} readings in {form} messages of "
                f"{READINGS_PER_MESSAGE} from the embedded Pub/Sub through the Beam graph, archive "
                "and landing durable (fsync) and acknowledged, per second of wall time; publishing "
                "is excluded.",
            ),
            Metric(
                f"ingest.{payload}.ratio_limit",
                "ratio",
                at_least(0.4),
                f"CPU time of {limit} over CPU time of the ingest process (pulling included), for "
                "the same readings in the same run.",
            ),
            Metric(
                f"ingest.{payload}.ratio_limit_with_server",
                "ratio",
                at_least(0.3),
                "the same with the CPU time of the Pub/Sub server added to the ingest's.",
            ),
        ),
        measure=partial(measure, payload),
    )


JSON: Final = _benchmark("json", "JSON", 250_000, "DuckDB `read_json` → zstd Parquet")
ARROW: Final = _benchmark("arrow", "Arrow", 700_000, "pyarrow Arrow IPC → zstd Parquet")
SINGLE: Final = Benchmark(
    (
        Metric(
            "ingest.single.messages_per_s",
            "messages/s",
            at_least(5_000),
            f"draining {_READINGS['single']:,} JSON messages of one reading each, otherwise as "
            "`ingest.json.readings_per_s`.",
        ),
    ),
    measure=measure_single,
)
