"""Reads a simulator config; gives messages that wait, in memory or in Pub/Sub, and drains them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
import psutil
import pyarrow.ipc
import pyarrow.parquet as pq
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from ami_cli.ingestion import batch_limits, payload_bounds
from ami_cli.processes import accepts, free_port
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from beam_jobs.elements import Message
from beam_jobs.local import Totals, ingest
from beam_jobs.source import PubSubSource, Received, Source
from benchmarks.definition import BenchmarkError
from simulator.config import load_config
from simulator.publisher import CollectingPublisher
from simulator.run import simulate

FLEET: Final = Path(__file__).resolve().parents[1] / "simulator" / "configs" / "fleet_1000.yaml"
READINGS_PER_MESSAGE: Final = 500
TOPIC: Final = "benchmark"
SUBSCRIPTION: Final = "benchmark-sub"
PROJECT: Final = "ami-benchmark"

_START: Final = datetime(2026, 3, 1, 12, 50, tzinfo=UTC)
"""Ten minutes before an hour ends, so that a backlog lands in two hours."""

_METERS: Final = 1000
_MESSAGES_PER_PULL: Final = 100
_PUBLISH_BYTES: Final = 3_000_000
_PUBLISH_MESSAGES: Final = 1000
_START_S: Final = 30.0


@dataclass(frozen=True)
class Backlog:
    """Messages that wait to be ingested.

    Attributes:
        messages: in the order of their delivery.
        readings: in all of them.
        now: a time at which all of them were published (UTC).
    """

    messages: list[Message]
    readings: int
    now: datetime

    @property
    def payloads(self) -> list[bytes]:
        """Payloads of the messages."""
        return [message.data for message in self.messages]


def make_backlog(
    payload: str, readings: int, *, per_message: int = READINGS_PER_MESSAGE
) -> Backlog:
    """Messages from 1 000 faultless meters at 1 Hz, ten meters a pole.

    Args:
        payload: `json` or `arrow`.
        readings: how many; whole batches of all meters are made.
        per_message: readings of a message; 1: single readings.
    """
    single = per_message == 1
    faultless = {"drop_prob": 0.0, "duplicate_prob": 0.0, "reorder_prob": 0.0}
    form: dict[str, object] = (
        {"publish_mode": "single", "payload": "json"}
        if single
        else {
            "payload": payload,
            "batch_interval_s": per_message / 10,
            "batch_max_readings": per_message,
        }
    )
    config = load_config(FLEET, faultless | form)
    publisher = CollectingPublisher()
    end = _START + timedelta(seconds=readings / _METERS)
    summary = simulate(config, start=_START, end=end, speed=None, publisher=publisher)
    messages = [
        Message(
            str(number),
            datetime.fromtimestamp(sent.due_us / 1e6, UTC),
            dict(sent.attributes),
            sent.data,
        )
        for number, sent in enumerate(publisher.messages)
    ]
    last = max(message.publish_time for message in messages)
    return Backlog(messages, summary.published, last + timedelta(seconds=1))


def endless(backlog: Backlog, readings: int) -> Iterator[Message]:
    """The messages of a backlog again and again, each under an id of its own."""
    numbers = itertools.count()
    for _ in range(readings // backlog.readings):
        for message in backlog.messages:
            yield message._replace(message_id=str(next(numbers)))


class MemorySource:
    """A `beam_jobs.source.Source` over messages in memory.

    Args:
        messages: to deliver, in order, once each.
    """

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self.delivered = 0
        self.acknowledged = 0

    def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
        """The next messages, none after `timeout_s` when all are delivered."""
        found = []
        for message in self._messages:
            found.append(Received(message.message_id, message))
            if len(found) >= min(max_messages, _MESSAGES_PER_PULL):
                break
        if not found:
            time.sleep(timeout_s)
        self.delivered += len(found)
        return found

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Count messages as settled."""
        self.acknowledged += len(ack_ids)

    def extend(self, ack_ids: Sequence[str]) -> None:
        """Nothing here is ever delivered again."""

    def release(self, ack_ids: Sequence[str]) -> None:
        """Nothing comes again here; the ingest raises the reason after this call."""


@dataclass
class Drained:
    """What an ingest has done, and when.

    Attributes:
        totals: of the ingest.
        last_batch_at: monotonic clock at the last batch's acknowledgement (s).
    """

    totals: Totals
    last_batch_at: float


def drain(source: Source, now: datetime, data: DataDir) -> Drained:
    """Ingest everything that `source` has into `data`, with the settings' defaults.

    Raises:
        AmiError: the lake cannot be written.
    """
    settings = Settings.model_construct()
    last_batch_at = time.perf_counter()

    def note(_: Totals) -> None:
        nonlocal last_batch_at
        last_batch_at = time.perf_counter()

    totals = ingest(
        data,
        source,
        batch_limits(settings),
        payload_bounds(settings),
        stop=threading.Event(),
        now=lambda: now,
        clock=time.monotonic,
        workers=settings.ingest_workers,
        idle_timeout_s=0,
        report=note,
    )
    return Drained(totals, last_batch_at)


def drain_memory(messages: Sequence[Message], now: datetime, data: DataDir) -> Drained:
    """`drain` of messages in memory.

    Raises:
        BenchmarkError: one was not acknowledged.
    """
    source = MemorySource(iter(messages))
    drained = drain(source, now, data)
    if source.acknowledged != len(messages):
        raise BenchmarkError(f"{source.acknowledged} of {len(messages)} messages were acknowledged")
    return drained


def check_stored(totals: Totals, data: DataDir, readings: int) -> None:
    """Raise BenchmarkError unless all readings are in the landing and their messages archived."""
    landed = sum(pq.read_metadata(f).num_rows for f in data.landing.rglob("*.parquet"))
    archived = sum(f.read_bytes().count(b"\n") for f in data.archive.rglob("*.jsonl"))
    archived += sum(
        pyarrow.ipc.open_file(f).read_all().num_rows for f in data.archive.rglob("*.arrow")
    )
    if landed != readings or archived != totals.counters["messages"] or totals.refused:
        raise BenchmarkError(
            f"{readings} readings in {totals.counters['messages']} messages gave {landed} landed "
            f"rows, {archived} archived messages and {totals.refused} refusals"
        )


class LocalPubSub:
    """The embedded Pub/Sub as a process of its own, with one subscription.

    Attributes:
        endpoint: host:port.
    """

    def __init__(self, process: subprocess.Popen[bytes], endpoint: str) -> None:
        self._process = process
        self.endpoint = endpoint

    def source(self) -> PubSubSource:
        """The subscription, made when it is absent."""
        source = PubSubSource(PROJECT, TOPIC, SUBSCRIPTION, self.endpoint)
        source.ensure()
        return source

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish messages to the subscription's topic, in requests of up to 3 MB."""
        channel = grpc.insecure_channel(self.endpoint)
        client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        topic = f"projects/{PROJECT}/topics/{TOPIC}"
        request: list[dict[str, object]] = []
        size = 0
        for message in messages:
            request.append({"data": message.data, "attributes": message.attributes})
            size += len(message.data)
            if size >= _PUBLISH_BYTES or len(request) >= _PUBLISH_MESSAGES:
                client.publish(topic=topic, messages=request)
                request, size = [], 0
        if request:
            client.publish(topic=topic, messages=request)
        client.transport.close()

    @property
    def cpu_s(self) -> float:
        """CPU time of the server so far (s)."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system


@contextmanager
def local_pubsub(folder: Path) -> Iterator[LocalPubSub]:
    """A running server with its journal below `folder`.

    Raises:
        BenchmarkError: it does not start.
    """
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AMI_", "PUBSUB_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "ami_cli.main", "pubsub"],
        env=environment | {"AMI_DATA_DIR": str(folder), "AMI_PUBSUB_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_S
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("the embedded Pub/Sub does not start")
            time.sleep(0.05)
        yield LocalPubSub(process, f"127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
