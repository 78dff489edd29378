"""Intake: reads a source in a thread of its own, gives the micro-batches of the local ingest.

Pulling goes on while a batch is being stored, so the next batch is as large as the backlog made it:
a second's messages when nothing waits, up to the bounds when much does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ami_contract.errors import TransportError
from beam_jobs.source import ACK_DEADLINE_S, Received, Source

log = logging.getLogger("ami.ingest")

_PULL_S: Final = 0.5
_SMALL_PULL: Final = 200
_SMALL_PULL_PAUSE_S: Final = 0.05
_LONGEST_RETRY_S: Final = 10.0
_EXTEND_AFTER_S: Final = ACK_DEADLINE_S / 3


@dataclass(frozen=True)
class Limits:
    """Bounds of one micro-batch.

    Attributes:
        max_messages: messages.
        max_bytes: payload bytes; one larger pull still makes a batch.
        max_wait_s: time from the first message to the run, in seconds.
    """

    max_messages: int
    max_bytes: int
    max_wait_s: float


class _Lease(NamedTuple):
    ack_ids: list[str]
    until_extended_s: float


class Intake:
    """Messages on their way from a source to the ingest.

    Args:
        source: is used by the intake's thread and by the ingest, for pulling and settling.
        limits: bounds of a micro-batch.
        clock: monotonic seconds.
    """

    def __init__(self, source: Source, limits: Limits, clock: Callable[[], float]) -> None:
        self._source = source
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[Received] = []
        self._bytes = 0
        self._first_at = 0.0
        self._idle_since: float | None = None
        self._leases: list[_Lease] = []
        self._open = True
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="ingest-intake", daemon=True)

    def __enter__(self) -> Intake:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop pulling and give back what nobody took."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            self.give_back([item.ack_id for item in self._waiting])
            self._waiting = []

    def take(self, timeout_s: float) -> list[Received]:
        """The next micro-batch as soon as it is complete; empty after `timeout_s` without one.

        Raises:
            Exception: what ended the intake's thread.
        """
        deadline = self._clock() + timeout_s
        with self._changed:
            while not self._complete():
                if self._failure:
                    raise self._failure
                left_s = deadline - self._clock()
                if left_s <= 0:
                    return []
                if self._waiting:
                    left_s = min(left_s, self._due_in_s())
                self._changed.wait(left_s)
            taken, self._waiting, self._bytes = self._waiting, [], 0
            self._changed.notify_all()
            return taken

    def settle(self, ack_ids: list[str]) -> None:
        """Acknowledge messages that were taken; a failure only brings them again."""
        self._drop_leases(ack_ids)
        try:
            self._source.acknowledge(ack_ids)
        except TransportError as error:
            log.warning("%s; the batch comes again and its copies are dropped", error)

    def give_back(self, ack_ids: list[str]) -> None:
        """Let messages be delivered again at once."""
        self._drop_leases(ack_ids)
        if not ack_ids:
            return
        try:
            self._source.release(ack_ids)
        except TransportError as error:
            log.warning("%s; the messages come again after their deadline", error)

    @property
    def idle_s(self) -> float:
        """How long nothing has come, in seconds; negative while anything may be on its way."""
        with self._changed:
            if self._waiting or self._idle_since is None:
                return -1.0
            return self._clock() - self._idle_since

    def _complete(self) -> bool:
        return bool(self._waiting) and (self._full() or self._due_in_s() <= 0)

    def _full(self) -> bool:
        return (
            len(self._waiting) >= self._limits.max_messages or self._bytes >= self._limits.max_bytes
        )

    def _due_in_s(self) -> float:
        return self._first_at + self._limits.max_wait_s - self._clock()

    def _drop_leases(self, ack_ids: list[str]) -> None:
        settled = set(ack_ids)
        with self._changed:
            self._leases = [each for each in self._leases if settled.isdisjoint(each.ack_ids)]

    def _run(self) -> None:
        retry_s = 0.5
        try:
            while room := self._room():
                try:
                    self._extend_leases()
                    received = self._source.pull(room, _PULL_S)
                    retry_s = 0.5
                    self._add(received)
                    if 0 < len(received) < _SMALL_PULL:
                        # A pull answers with what is there; asking less often asks for more.
                        self._pause(_SMALL_PULL_PAUSE_S)
                except TransportError as error:
                    log.warning("%s; trying again in %.1f s", error, retry_s)
                    self._idle_since = None
                    self._pause(retry_s)
                    retry_s = min(2 * retry_s, _LONGEST_RETRY_S)
        except Exception as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _room(self) -> int:
        """Messages that may still be pulled, waiting for room; 0 once the intake is closed."""
        while True:
            with self._changed:
                if self._open and self._full():
                    self._changed.wait(1.0)
                if not self._open:
                    return 0
                if not self._full():
                    return self._limits.max_messages - len(self._waiting)
            self._extend_leases()

    def _add(self, received: list[Received]) -> None:
        now = self._clock()
        with self._changed:
            if not received:
                self._idle_since = now if self._idle_since is None else self._idle_since
                return
            if not self._waiting:
                self._first_at = now
            self._waiting += received
            self._bytes += sum(len(item.message.data) for item in received)
            self._idle_since = None
            self._leases.append(_Lease([i.ack_id for i in received], now + _EXTEND_AFTER_S))
            self._changed.notify_all()

    def _extend_leases(self) -> None:
        now = self._clock()
        with self._changed:
            due = [each for each in self._leases if each.until_extended_s <= now]
        for lease in due:
            self._source.extend(lease.ack_ids)
        if due:
            with self._changed:
                held = [each for each in self._leases if each not in due]
                kept = [each for each in due if each in self._leases]
                renewed = [_Lease(each.ack_ids, now + _EXTEND_AFTER_S) for each in kept]
                self._leases = held + renewed

    def _pause(self, seconds: float) -> None:
        with self._changed:
            if self._open:
                self._changed.wait(seconds)
