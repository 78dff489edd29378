"""Reads messages; keeps each on disk first, then publishes it until somebody has taken it.

    publish ─▶ spool (disk) ─▶ a thread of its own ─▶ Pub/Sub ─▶ acknowledged in the spool

So the meters are never held up by the network, an outage costs disk and not memory, and a gateway
that is killed sends the rest when it is started again.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from google.api_core import exceptions

from ami_contract.errors import AmiError, TransportError
from ami_contract.reading import Attribute
from simulator.gateway import Message
from simulator.publisher import Publisher, PublisherCounters
from simulator.spool import Entry, Spool

FIRST_BACKOFF_S: Final = 0.2
LONGEST_BACKOFF_S: Final = 30.0
_SYNC_EVERY_S: Final = 1.0
_WAITS_ABOVE_BYTES: Final = 64 * 1024 * 1024
_WAITS_ABOVE_FILL: Final = 0.5
_LATE_S: Final = 10.0


class StoreAndForward:
    """A publisher that never loses what it has taken, but for a spool that runs over.

    Messages leave in the order in which they were taken; after a failure they are tried again in
    that order, after a bounded exponential backoff with jitter. Only a message that can never be
    taken (too large, not valid) is given up.

    Args:
        inner: where messages go.
        spool: of this run. Messages that it had taken before a restart, all up to its newest, are
            not taken again.
        inherited: spools of runs that did not end well; they are sent first and then removed.
        waits_when_full: `publish` waits for room instead of letting the spool run over, for runs
            whose speed nobody dictates.
        waits_when_late: it does so for messages that were due 10 s ago, as of a live run that
            catches up with the wall clock.
        stop: when set, nothing waits any longer than `drain_s`.
        patience_s: how long `flush` waits without any progress (s).
        drain_s: how long it waits after `stop` (s).
        most_messages, most_bytes: under way to `inner` at once.
        rng: for the jitter.
    """

    def __init__(
        self,
        inner: Publisher,
        spool: Spool,
        inherited: Sequence[Spool] = (),
        *,
        waits_when_full: bool = False,
        waits_when_late: bool = False,
        stop: threading.Event | None = None,
        patience_s: float = 600.0,
        drain_s: float = 10.0,
        most_messages: int = 2_000,
        most_bytes: int = 16 * 1024 * 1024,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._spool = spool
        self._inherited = list(inherited)
        self._waits = waits_when_full
        self._waits_when_late = waits_when_late
        self._stop = stop or threading.Event()
        self._patience_s = patience_s
        self._drain_s = drain_s
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._rng = rng
        self._newest_before = spool.newest
        self._changed = threading.Condition()
        # All below is guarded by `_changed`.
        self._under_way = self._bytes_under_way = 0
        self._again: list[tuple[bool, int, int, Spool, Entry]] = []
        self._put_back_count = 0
        self._messages = self._payload_bytes = self._failed = self._retried = 0
        self._failures_in_a_row = 0
        self._not_before_s = 0.0
        self._progress_s = time.monotonic()
        self._refusal: BaseException | None = None
        self._broken: AmiError | None = None
        self._closing = self._closed = False
        self._thread = threading.Thread(target=self._pump, name="spool", daemon=True)
        self._thread.start()

    @property
    def resumes_at_us(self) -> int | None:
        """Due time of the last message taken before a restart (µs since 1970); None: none was."""
        return None if self._newest_before is None else self._newest_before.due_us

    def publish(self, message: Message) -> Future[None]:
        """Keep `message` on disk; the future ends when that is done.

        Raises:
            LakeError: the disk refuses.
        """
        self._check()
        outcome: Future[None] = Future()
        outcome.set_result(None)
        if self._was_taken_before(message):
            return outcome
        if self._waits or (self._waits_when_late and _is_late(message)):
            with self._changed:
                while self._is_crowded() and not self._stop.is_set() and self._broken is None:
                    self._changed.wait(0.2)
        self._spool.append(message)
        with self._changed:
            self._changed.notify_all()
        return outcome

    def _is_crowded(self) -> bool:
        return self._spool.size > _WAITS_ABOVE_BYTES or self._spool.fill > _WAITS_ABOVE_FILL

    def _was_taken_before(self, message: Message) -> bool:
        """Whether the spool took it before a restart; messages come in the order of that run."""
        newest = self._newest_before
        if newest is None:
            return False
        if message.due_us > newest.due_us:
            self._newest_before = None
            return False
        if message.attributes[Attribute.BATCH_ID] == newest.batch_id:
            self._newest_before = None
        return True

    def flush(self) -> None:
        """Wait until everything is sent, or is known to have to wait in the spool.

        Raises:
            TransportError: a message can never be taken; says how many and why.
            LakeError: the spool cannot be read.
        """
        self._spool.sync()
        stopped_s: float | None = None
        with self._changed:
            self._progress_s = time.monotonic()
            while self._broken is None and self._remains():
                now_s = time.monotonic()
                if self._stop.is_set():
                    stopped_s = stopped_s or now_s
                    if now_s - stopped_s > self._drain_s:
                        break
                if now_s - self._progress_s > self._patience_s:
                    break
                self._changed.wait(0.1)
            failed, refusal = self._failed, self._refusal
        self._check()
        if refusal is not None:
            raise TransportError(f"{failed} messages can never be published: {refusal}")

    def _remains(self) -> bool:
        return any(spool.waiting for spool in (*self._inherited, self._spool))

    def counters(self) -> PublisherCounters:
        """Counters so far."""
        with self._changed:
            inner = self._inner.counters()
            return PublisherCounters(
                messages=self._messages,
                payload_bytes=self._payload_bytes,
                retried=self._retried + inner.retried,
                failed=self._failed,
                spooled=self._spool.readings,
                overflowed=self._spool.overflowed,
                lag_s=self._spool.depth_s,
            )

    def overflow(self) -> list[tuple[str, ...]]:
        """(meter_id, seq, event_ts) of every reading that was dropped for want of room."""
        return list(self._spool.overflow())

    def close(self) -> None:
        """End the thread; keep on disk what could not be sent, else remove the spool."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            while self._under_way and self._changed.wait(5.0):
                pass
            self._closed = True
            for spool in self._inherited:
                spool.close() if spool.waiting else spool.remove()
            self._inherited.clear()
            if not self._spool.waiting and self._broken is None:
                self._spool.remove()
            elif self._stop.is_set():
                self._spool.set_aside()
            else:
                self._spool.close()

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _pump(self) -> None:
        synced_s = time.monotonic()
        try:
            while True:
                found = self._next()
                if found is not None:
                    self._send(*found)
                elif self._closing:
                    return
                if time.monotonic() - synced_s > _SYNC_EVERY_S:
                    self._spool.sync()
                    synced_s = time.monotonic()
        except AmiError as error:
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _next(self) -> tuple[Spool, Entry] | None:
        """The next message to send, once there is room for it; None: look again."""
        with self._changed:
            if self._closing:
                return None
            wait_s = self._not_before_s - time.monotonic()
            has_room = (
                self._under_way < self._most_messages and self._bytes_under_way < self._most_bytes
            )
            if wait_s <= 0 and has_room:
                if self._again:
                    *_, spool, entry = heapq.heappop(self._again)
                    return self._started(spool, entry)
                for spool in list(self._inherited):
                    entry_or_none = spool.take()
                    if entry_or_none is not None:
                        return self._started(spool, entry_or_none)
                    if not spool.waiting:
                        self._inherited.remove(spool)
                        spool.remove()
                entry_or_none = self._spool.take()
                if entry_or_none is not None:
                    return self._started(self._spool, entry_or_none)
            self._changed.wait(min(max(wait_s, 0.01), 0.2) if wait_s > 0 else 0.2)
            return None

    def _started(self, spool: Spool, entry: Entry) -> tuple[Spool, Entry]:
        self._under_way += 1
        self._bytes_under_way += len(entry.message.data)
        return spool, entry

    def _send(self, spool: Spool, entry: Entry) -> None:
        sent = self._inner.publish(entry.message)
        sent.add_done_callback(lambda done: self._settle(spool, entry, done.exception()))

    def _settle(self, spool: Spool, entry: Entry, error: BaseException | None) -> None:
        with self._changed:
            if self._closed:
                return  # it stays in the spool and is sent again
            self._under_way -= 1
            self._bytes_under_way -= len(entry.message.data)
            try:
                if error is None:
                    self._failures_in_a_row = 0
                    self._not_before_s = 0.0
                    self._progress_s = time.monotonic()
                    self._messages += 1
                    self._payload_bytes += len(entry.message.data)
                    spool.acknowledge(entry)
                elif isinstance(error, TransportError | exceptions.InvalidArgument):
                    self._failed += 1
                    self._refusal = self._refusal or error
                    spool.acknowledge(entry)
                else:
                    self._retried += 1
                    self._put_back(spool, entry)
            except AmiError as broken:
                self._broken = broken
            self._changed.notify_all()

    def _put_back(self, spool: Spool, entry: Entry) -> None:
        self._put_back_count += 1
        place = (spool is self._spool, entry.ordinal, self._put_back_count, spool, entry)
        heapq.heappush(self._again, place)
        now_s = time.monotonic()
        if now_s >= self._not_before_s:
            # One failure of many messages at once is one failure.
            backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**self._failures_in_a_row)
            self._failures_in_a_row = min(self._failures_in_a_row + 1, 16)
            self._not_before_s = now_s + backoff_s * (0.5 + self._rng() / 2)


def _is_late(message: Message) -> bool:
    return message.due_us < (time.time() - _LATE_S) * 1e6
