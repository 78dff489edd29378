"""Reads simulated messages; gives the rate of the local ingest and its share of the limit.

The messages stand ready in memory, so what is measured is the ingest alone: decode, validate,
enrich, archive and landing durable, acknowledge.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow.ipc
import pyarrow.parquet as pq

from ami_cli.ingestion import batch_limits, payload_bounds
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from beam_jobs.elements import Message
from beam_jobs.local import Totals, ingest
from beam_jobs.source import Received
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
from benchmarks.suite.generation import FLEET
from simulator.config import load_config
from simulator.publisher import CollectingPublisher
from simulator.run import simulate

_START: Final = datetime(2026, 3, 1, 12, 50, tzinfo=UTC)
"""Ten minutes before an hour ends, so that a backlog lands in two hours."""

_METERS: Final = 1000
_READINGS_PER_MESSAGE: Final = 500
_READINGS: Final = {"json": 1_000_000, "arrow": 3_000_000}
_QUICK_READINGS: Final = 50_000
_WARM_UP_MESSAGES: Final = 20
_MESSAGES_PER_PULL: Final = 100


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


class MemorySource:
    """A `beam_jobs.source.Source` over messages in memory.

    Args:
        messages: to deliver, once each.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._next = 0
        self.acknowledged: set[str] = set()

    def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
        """The next messages, none after `timeout_s` when all are delivered."""
        first = self._next
        self._next = min(first + min(max_messages, _MESSAGES_PER_PULL), len(self._messages))
        if first == self._next:
            time.sleep(timeout_s)
        return [Received(m.message_id, m) for m in self._messages[first : self._next]]

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Note messages as settled."""
        self.acknowledged.update(ack_ids)

    def extend(self, ack_ids: Sequence[str]) -> None:
        """Nothing here is ever delivered again."""

    def release(self, ack_ids: Sequence[str]) -> None:
        """Nothing comes again here; the ingest raises the reason after this call."""


def make_backlog(payload: str, readings: int) -> Backlog:
    """Messages of 500 readings from 1 000 faultless meters at 1 Hz.

    Args:
        payload: `json` or `arrow`.
        readings: how many; whole batches of 50 s of all meters are made.
    """
    config = load_config(
        FLEET,
        {
            "payload": payload,
            "batch_interval_s": _READINGS_PER_MESSAGE / 10,
            "batch_max_readings": _READINGS_PER_MESSAGE,
            "drop_prob": 0.0,
            "duplicate_prob": 0.0,
            "reorder_prob": 0.0,
        },
    )
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


def drain(messages: Sequence[Message], now: datetime, data: DataDir) -> Totals:
    """Ingest `messages` into `data` until all are acknowledged.

    Raises:
        BenchmarkError: one was not acknowledged.
        AmiError: the lake cannot be written.
    """
    settings = Settings.model_construct()
    source = MemorySource(messages)
    totals = ingest(
        data,
        source,
        batch_limits(settings),
        payload_bounds(settings),
        stop=threading.Event(),
        now=lambda: now,
        clock=time.monotonic,
        idle_timeout_s=0,
    )
    if len(source.acknowledged) != len(messages):
        raise BenchmarkError(
            f"{len(source.acknowledged)} of {len(messages)} messages were acknowledged"
        )
    return totals


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


def prepare_limit(payload: str, backlog: Backlog, work: Path) -> Callable[[], None]:
    """The limit of the same readings, ready to be run again and again."""
    target = work / "limit.parquet"
    if payload == "arrow":
        return partial(arrow_to_parquet, backlog.payloads, target)
    source = work / "limit.ndjson"
    write_ndjson(backlog.payloads, source)
    return partial(json_to_parquet, source, target)


def measure(payload: str, context: Context) -> Measurements:
    """Rate of draining a backlog, and the limit's CPU time over ours; the two take turns.

    Raises:
        BenchmarkError: a reading was refused or not stored.
    """
    backlog = make_backlog(payload, _QUICK_READINGS if context.quick else _READINGS[payload])
    limit = prepare_limit(payload, backlog, context.work)
    root = context.work / "lake"
    data = DataDir(root)
    drain(backlog.messages[:_WARM_UP_MESSAGES], backlog.now, data)
    limit()
    while True:
        shutil.rmtree(root)
        totals, ours = measured(partial(drain, backlog.messages, backlog.now, data))
        check_stored(totals, data, backlog.readings)
        _, least = measured(limit)
        yield {
            f"ingest.{payload}.readings_per_s": backlog.readings / ours.wall_s,
            f"ingest.{payload}.ratio_limit": least.cpu_s / ours.cpu_s,
        }


def _benchmark(payload: str, form: str, least_rate: float, limit: str) -> Benchmark:
    return Benchmark(
        (
            Metric(
                f"ingest.{payload}.readings_per_s",
                "readings/s",
                at_least(least_rate),
                f"draining a backlog of {_READINGS[payload]:,} readings in {form} messages of "
                f"{_READINGS_PER_MESSAGE} through the Beam graph, archive and landing durable "
                "(fsync), per second of wall time; publishing and pulling are excluded, as the "
                "messages stand ready in memory.",
            ),
            Metric(
                f"ingest.{payload}.ratio_limit",
                "ratio",
                at_least(0.4),
                f"CPU time of {limit} over CPU time of the ingest, for the same readings in the "
                "same run.",
            ),
        ),
        measure=partial(measure, payload),
    )


JSON: Final = _benchmark("json", "JSON", 250_000, "DuckDB `read_json` → zstd Parquet")
ARROW: Final = _benchmark("arrow", "Arrow", 700_000, "pyarrow Arrow IPC → zstd Parquet")
