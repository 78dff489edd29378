"""Reads the clock; gives the time from publishing a reading until a query of the landing finds it.

Embedded Pub/Sub and `ami ingest` run as processes of their own, with the settings' defaults. Single
readings are published at a steady rate, each stamped with its time of publication.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import pyarrow.parquet as pq

from ami_contract.lake import DataDir
from beam_jobs.elements import Message
from benchmarks.backlog import PROJECT, SUBSCRIPTION, TOPIC, local_pubsub
from benchmarks.definition import Benchmark, BenchmarkError, Context, Measurements, Metric, at_most

_MESSAGES_PER_S: Final = 1000
_SECONDS: Final = 30
_QUICK_SECONDS: Final = 3
_REQUEST_S: Final = 0.1
_LOOK_S: Final = 0.02
_LONGEST_WAIT_S: Final = 60.0
_METERS: Final = 1000


def measure(context: Context) -> Measurements:
    """95th percentile and median of the latency (s).

    Raises:
        BenchmarkError: a reading did not arrive.
    """
    seconds = _QUICK_SECONDS if context.quick else _SECONDS
    first_seq = 0
    with local_pubsub(context.work / "pubsub") as server:
        server.source().close()
        data = DataDir(context.work / "lake")
        ingest = _start_ingest(server.endpoint, data, context.work / "ingest.log")
        try:
            while True:
                sent = seconds * _MESSAGES_PER_S
                latencies_s = run(server.publish, data, first_seq, sent)
                first_seq += sent
                yield {
                    "latency.landing.p95_s": float(np.quantile(latencies_s, 0.95)),
                    "latency.landing.p50_s": float(np.quantile(latencies_s, 0.5)),
                }
        finally:
            ingest.send_signal(signal.SIGTERM)
            ingest.wait()


def run(publish: object, data: DataDir, first_seq: int, count: int) -> list[float]:
    """Publish `count` readings at the rate; latencies (s) of all of them."""
    known = set(data.landing.rglob("[!.]*.parquet"))
    latencies_s: list[float] = []
    begun = time.time()
    sent = 0
    deadline = begun + count / _MESSAGES_PER_S + _LONGEST_WAIT_S
    while len(latencies_s) < count:
        now = time.time()
        if now > deadline:
            raise BenchmarkError(f"{len(latencies_s)} of {count} readings have landed")
        due = min(count, int((now - begun) * _MESSAGES_PER_S))
        if due - sent >= _REQUEST_S * _MESSAGES_PER_S or (due == count and sent < count):
            publish([_message(first_seq + i, time.time()) for i in range(sent, due)])  # type: ignore[operator]
            sent = due
        new = set(data.landing.rglob("[!.]*.parquet")) - known
        known |= new
        for path in new:
            times = pq.read_table(path, columns=["event_ts"])["event_ts"].to_pylist()
            seen = time.time()
            latencies_s += [seen - event_ts.timestamp() for event_ts in times]
        time.sleep(_LOOK_S)
    return latencies_s


def _message(seq: int, now: float) -> Message:
    instant = datetime.fromtimestamp(now, UTC)
    reading = {
        "event_ts": instant.isoformat().replace("+00:00", "Z"),
        "meter_id": f"m{seq % _METERS}",
        "pole_id": f"p{seq % 100}",
        "seq": seq // _METERS,
        "voltage_v": 240.1,
        "current_a": 4.2,
        "power_kw": 1.0,
    }
    attributes = {"content_type": "application/json", "batch_id": f"b{seq}"}
    return Message(str(seq), instant, attributes, orjson.dumps(reading))


def _start_ingest(endpoint: str, data: DataDir, log: Path) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AMI_", "PUBSUB_"))}
    environment |= {
        "AMI_DATA_DIR": str(data.root),
        "AMI_PUBSUB_EMULATOR_HOST": endpoint,
        "AMI_PROJECT_ID": PROJECT,
        "AMI_PUBSUB_TOPIC": TOPIC,
        "AMI_PUBSUB_SUBSCRIPTION": SUBSCRIPTION,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", "ingest"],
            env=environment,
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while b"ingest:" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkError(f"the ingest does not start, see {log}")
        time.sleep(0.05)
    return process


LANDING: Final = Benchmark(
    (
        Metric(
            "latency.landing.p95_s",
            "s",
            at_most(5),
            "from publishing a reading until a query of the landing finds it, 95th percentile at "
            f"{_MESSAGES_PER_S:,} messages/s of one reading each.",
        ),
        Metric("latency.landing.p50_s", "s", at_most(3), "the same, median."),
    ),
    runs=3,
    measure=measure,
)
