"""Reads writes from many threads; gives each its answer once one shared transaction is durable.

One thread owns all writing. Whatever waits when it becomes free goes into a single transaction
(group commit), so the price of a flush to disk is shared by all publishers of that moment.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from local_pubsub.errors import RequestRefused, Unavailable
from local_pubsub.journal import Journal

logger = logging.getLogger(__name__)

T = TypeVar("T")

_HOUSEKEEPING_INTERVAL_S = 2.0
_RETRY_AFTER_FAILURE_S = 0.5
_MAX_IDS_PER_STATEMENT = 20_000
_HOUSEKEEPING_OVERDUE_S = 10.0


class _Settler(NamedTuple):
    """Whose acknowledgements these are, and whether it keeps the messages for a seek."""

    subscription_id: int
    topic_id: int
    retain: bool


@dataclass
class _Deferred:
    """What may wait for the next flush: acknowledged messages and failed delivery attempts."""

    settled: defaultdict[_Settler, list[int]] = field(default_factory=lambda: defaultdict(list))
    failed: defaultdict[tuple[int, int], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def __bool__(self) -> bool:
        return bool(self.settled or self.failed)

    def write(self, journal: Journal) -> None:
        """Write all of it inside a transaction of `journal`."""
        # A message may have failed more than once since: the highest count is written last.
        for (subscription_id, attempts), message_ids in sorted(self.failed.items()):
            for some in _in_statements(message_ids):
                journal.record_attempts(subscription_id, attempts, some)
        for settler, message_ids in self.settled.items():
            for some in _in_statements(message_ids):
                journal.settle(
                    settler.subscription_id, settler.topic_id, some, retain=settler.retain
                )

    def add(self, later: _Deferred) -> None:
        """Take in what was handed in after this."""
        for settler, message_ids in later.settled.items():
            self.settled[settler] += message_ids
        for key, message_ids in later.failed.items():
            self.failed[key] += message_ids


class _Write(Generic[T]):
    """One write: `write` runs inside the transaction, `apply` after its commit."""

    def __init__(self, write: Callable[[], T], apply: Callable[[T], None], *, alone: bool) -> None:
        self.alone = alone
        self.result: Future[T] = Future()
        self._write = write
        self._apply = apply
        self._written: T

    def write(self) -> bool:
        """Write; False (and the answer given) when the request is refused before any change."""
        try:
            self._written = self._write()
        except RequestRefused as refused:
            self.result.set_exception(refused)
            return False
        return True

    def apply(self) -> None:
        """Bring the memory up to date with the committed write and answer."""
        self._apply(self._written)
        self.result.set_result(self._written)


class Committer:
    """The writer thread of a journal."""

    def __init__(self, journal: Journal, flush_interval_s: float) -> None:
        """Write to `journal`; acknowledgements wait at most about `flush_interval_s`."""
        self._journal = journal
        self._flush_interval_s = flush_interval_s
        self._waiting: list[_Write] = []
        self._in_hand: list[_Write] = []
        self._deferred = _Deferred()
        self._flush_due_s: float | None = None
        self._housekeeping_due_s = time.monotonic()
        self._stopping = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="journal-committer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Commit everything handed in so far and end the thread."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    def submit(
        self, write: Callable[[], T], apply: Callable[[T], None], *, alone: bool = False
    ) -> T:
        """Write durably and return what `write` returned.

        `write` must check everything that can be refused before it changes anything. `apply`
        runs in the writer thread after the commit and before any later write. `alone` asks for a
        transaction of its own, for writes that change what the next ones see.

        Raises RequestRefused from `write`, and Unavailable when the disk refuses or the server
        is stopping.
        """
        item = _Write(write, apply, alone=alone)
        with self._condition:
            if self._stopping:
                raise Unavailable("the Pub/Sub server is stopping; try again when it is back")
            self._waiting.append(item)
            self._condition.notify()
        return item.result.result()

    def settle_later(
        self, subscription_id: int, topic_id: int, message_ids: list[int], *, retain: bool
    ) -> None:
        """Hand in acknowledged messages, to be committed within the flush interval."""
        with self._condition:
            self._deferred.settled[_Settler(subscription_id, topic_id, retain)] += message_ids
            self._flush_soon()

    def count_later(self, subscription_id: int, failed: list[tuple[int, int]]) -> None:
        """Hand in (message id, failed attempts), to be committed within the flush interval."""
        with self._condition:
            for message_id, attempts in failed:
                self._deferred.failed[subscription_id, attempts].append(message_id)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush_due_s is None:
            self._flush_due_s = time.monotonic() + self._flush_interval_s
            self._condition.notify()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            self._refuse_leftovers()

    def _refuse_leftovers(self) -> None:
        """Leave no caller waiting for an answer once the thread is about to end."""
        with self._condition:
            self._stopping = True
            leftovers = self._in_hand + self._waiting
            self._in_hand, self._waiting = [], []
        for item in leftovers:
            if not item.result.done():
                item.result.set_exception(Unavailable("the Pub/Sub server stopped writing"))

    def _serve(self) -> None:
        while True:
            with self._condition:
                self._wait_for_work()
                stopping = self._stopping
                self._in_hand, self._waiting = self._waiting, []
                items = self._in_hand
                # Writes that change what the next ones see must find all acks in the journal.
                flush = stopping or self._is_flush_due() or any(item.alone for item in items)
                deferred = _Deferred()
                if flush:
                    deferred, self._deferred = self._deferred, deferred
                    self._flush_due_s = None
            for group in _grouped(items):
                self._commit(group, deferred)
                deferred = _Deferred()
            if deferred:
                self._commit([], deferred)
            if stopping:
                return
            # Cleaning up is for idle moments, unless there are none.
            if time.monotonic() >= self._housekeeping_due_s + (
                _HOUSEKEEPING_OVERDUE_S if items else 0.0
            ):
                self._housekeep()

    def _is_flush_due(self) -> bool:
        return self._flush_due_s is not None and time.monotonic() >= self._flush_due_s

    def _wait_for_work(self) -> None:
        while not (self._waiting or self._stopping or self._is_flush_due()):
            now_s = time.monotonic()
            if now_s >= self._housekeeping_due_s:
                return
            due_s = min(self._housekeeping_due_s, self._flush_due_s or self._housekeeping_due_s)
            self._condition.wait(max(0.0, due_s - now_s))

    def _commit(self, group: list[_Write], deferred: _Deferred) -> None:
        try:
            with self._journal.transaction():
                deferred.write(self._journal)
                written = [item for item in group if item.write()]
        except sqlite3.Error as error:
            self._give_up(group, deferred, error)
            return
        for item in written:
            item.apply()

    def _give_up(self, group: list[_Write], deferred: _Deferred, error: sqlite3.Error) -> None:
        logger.error("journal write failed, nothing of it was stored: %s", error)
        with self._condition:
            deferred.add(self._deferred)
            self._deferred = deferred
            if deferred and not self._stopping:
                self._flush_due_s = time.monotonic() + _RETRY_AFTER_FAILURE_S
        for item in group:
            if not item.result.done():
                item.result.set_exception(
                    Unavailable(f"the journal could not be written ({error}); check the disk")
                )

    def _housekeep(self) -> None:
        try:
            more = self._journal.housekeep()
        except sqlite3.Error as error:
            logger.warning("journal housekeeping failed, to be tried again: %s", error)
            more = False
        self._housekeeping_due_s = time.monotonic() + (0.0 if more else _HOUSEKEEPING_INTERVAL_S)


def _in_statements(message_ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(message_ids), _MAX_IDS_PER_STATEMENT):
        yield message_ids[start : start + _MAX_IDS_PER_STATEMENT]


def _grouped(items: list[_Write]) -> list[list[_Write]]:
    """Split `items`, in order, into runs that may share a transaction."""
    groups: list[list[_Write]] = []
    for item in items:
        if groups and not item.alone and not groups[-1][0].alone:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups
