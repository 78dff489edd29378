"""The local ingest: reads a subscription in micro-batches, gives stored readings, acks last.

    pull → bounded Beam run → every file durable → acknowledge

Killed anywhere, it loses nothing: what was not acknowledged comes again, and a copy that had
already been stored is dropped by compaction.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

from ami_contract.errors import AmiError, ReadingRejected, RejectionCode, TransportError
from ami_contract.lake import DataDir
from beam_jobs.bounded import run_bounded
from beam_jobs.decode import refuse_payload
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.pipeline import Ingest
from beam_jobs.sinks import write_deadletter
from beam_jobs.source import Received, Source

log = logging.getLogger("ami.ingest")

_IDLE_PULL_S: Final = 1.0
_LONGEST_RETRY_S: Final = 10.0


@dataclass(frozen=True)
class Limits:
    """Bounds of one micro-batch.

    Attributes:
        max_messages: messages.
        max_bytes: payload bytes; one larger message still makes a batch.
        max_wait_s: time from the first message to the run, in seconds.
        max_payload_bytes: a larger payload is refused unread.
    """

    max_messages: int
    max_bytes: int
    max_wait_s: float
    max_payload_bytes: int


@dataclass
class Totals:
    """What an ingest has done so far.

    Attributes:
        batches: micro-batches stored and acknowledged.
        counters: sums of the graph's counters (`messages`, `stored`, `refused.<code>`, …).
    """

    batches: int = 0
    counters: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        """Readings and payloads in the dead letter."""
        return sum(n for name, n in self.counters.items() if name.startswith("refused."))


def segment_name(ingest_ts: datetime) -> str:
    """A name no other batch has, that sorts by time."""
    return f"{ingest_ts:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}"


def collect(
    source: Source, limits: Limits, *, clock: Callable[[], float], stop: threading.Event
) -> list[Received]:
    """One micro-batch of messages, empty when none came within a second.

    Once the first message is there, pulls until a bound of `limits` is reached or `stop` is set.
    """
    received = source.pull(limits.max_messages, _IDLE_PULL_S)
    deadline = clock() + limits.max_wait_s
    size = sum(len(r.message.data) for r in received)
    while received and not stop.is_set():
        left_s = deadline - clock()
        room = limits.max_messages - len(received)
        if left_s <= 0 or room <= 0 or size >= limits.max_bytes:
            break
        more = source.pull(room, max(left_s, 0.05))
        size += sum(len(r.message.data) for r in more)
        received += more
    return received


def store(data: DataDir, batch: MessageBatch, limits: Limits) -> Counter[str]:
    """Run a batch through the graph; all its files are durable on return.

    A batch on which a step fails for a reason that is not the lake's is halved until the message
    at fault stands alone; that one goes to the dead letter as `processing_failed`.

    Raises:
        AmiError: the lake cannot be written; nothing may be acknowledged.
    """
    graph = Ingest(data.root, max_payload_bytes=limits.max_payload_bytes)
    try:
        return Counter(run_bounded([batch], graph))
    except AmiError:
        raise
    except Exception as error:
        if len(batch.messages) == 1:
            return _refuse(data, batch, error)
        log.warning("batch %s failed (%s); halving it", batch.segment, error)
    middle = len(batch.messages) // 2
    halves = (batch.messages[:middle], batch.messages[middle:])
    counters: Counter[str] = Counter()
    for number, messages in enumerate(halves):
        part = MessageBatch(f"{batch.segment}-{number}", batch.ingest_ts, messages)
        counters += store(data, part, limits)
    return counters


def _refuse(data: DataDir, batch: MessageBatch, error: Exception) -> Counter[str]:
    code = RejectionCode.PROCESSING_FAILED
    reason = ReadingRejected(code, None, f"{type(error).__name__}: {error}")
    message: Message = batch.messages[0]
    write_deadletter(data, batch, [refuse_payload(0, message.data, reason)])
    return Counter({"messages": 1, f"refused.{code}": 1})


def ingest(
    data: DataDir,
    source: Source,
    limits: Limits,
    *,
    stop: threading.Event,
    now: Callable[[], datetime],
    clock: Callable[[], float],
    idle_timeout_s: float | None = None,
    report: Callable[[Totals], None] = lambda totals: None,
) -> Totals:
    """Ingest until `stop` is set or nothing has come for `idle_timeout_s`.

    Args:
        data: where to store.
        source: where the messages come from; while it is away the loop waits and tries again.
        limits: bounds of a micro-batch.
        stop: ends the loop after the batch in hand.
        now: wall clock (`ingest_ts`).
        clock: monotonic seconds.
        idle_timeout_s: None: never ends by itself.
        report: called after every batch.

    Returns:
        What was done.

    Raises:
        AmiError: the lake cannot be written; nothing of the batch in hand was acknowledged.
    """
    totals = Totals()
    last_activity = clock()
    retry_s = 0.5
    while not stop.is_set():
        try:
            received = collect(source, limits, clock=clock, stop=stop)
        except TransportError as error:
            log.warning("%s; trying again in %.1f s", error, retry_s)
            stop.wait(retry_s)
            retry_s = min(2 * retry_s, _LONGEST_RETRY_S)
            continue
        retry_s = 0.5
        if not received:
            if idle_timeout_s is not None and clock() - last_activity >= idle_timeout_s:
                break
            continue
        last_activity = clock()
        ingest_ts = now()
        batch = MessageBatch(
            segment_name(ingest_ts), ingest_ts, [item.message for item in received]
        )
        ack_ids = [item.ack_id for item in received]
        try:
            counters = store(data, batch, limits)
        except AmiError:
            _release(source, ack_ids)
            raise
        try:
            source.acknowledge(ack_ids)
        except TransportError as error:
            log.warning("%s; the batch comes again and its copies are dropped", error)
        totals.batches += 1
        totals.counters += counters
        report(totals)
    return totals


def _release(source: Source, ack_ids: list[str]) -> None:
    try:
        source.release(ack_ids)
    except TransportError as error:
        log.warning("%s; the messages come again after their deadline", error)
