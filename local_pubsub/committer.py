"""Reads writes from many threads; gives each its answer once one shared transaction is durable.

One thread owns all writing. Whatever waits when it becomes free goes into a single transaction
(group commit), so the price of a flush to disk is shared by all publishers of that moment.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from local_pubsub.errors import RequestRefused, Unavailable
from local_pubsub.journal import Journal

logger = logging.getLogger(__name__)

T = TypeVar("T")

_HOUSEKEEPING_INTERVAL_S = 2.0
_RETRY_AFTER_FAILURE_S = 0.5
_MAX_IDS_PER_SETTLE = 20_000


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
        self._settled: dict[tuple[int, int], list[int]] = {}
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

    def settle_later(self, subscription_id: int, topic_id: int, message_ids: list[int]) -> None:
        """Hand in acknowledged messages, to be committed within the flush interval."""
        with self._condition:
            self._settled.setdefault((subscription_id, topic_id), []).extend(message_ids)
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
                flush = stopping or self._is_flush_due()
                settled: dict[tuple[int, int], list[int]] = {}
                if flush:
                    settled, self._settled = self._settled, {}
                    self._flush_due_s = None
            for group in _grouped(items):
                self._commit(group, settled)
                settled = {}
            if settled:
                self._commit([], settled)
            if stopping:
                return
            if not items:
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

    def _commit(self, group: list[_Write], settled: dict[tuple[int, int], list[int]]) -> None:
        try:
            with self._journal.transaction():
                for (subscription_id, topic_id), message_ids in settled.items():
                    for start in range(0, len(message_ids), _MAX_IDS_PER_SETTLE):
                        self._journal.settle(
                            subscription_id,
                            topic_id,
                            message_ids[start : start + _MAX_IDS_PER_SETTLE],
                        )
                written = [item for item in group if item.write()]
        except sqlite3.Error as error:
            self._give_up(group, settled, error)
            return
        for item in written:
            item.apply()

    def _give_up(
        self,
        group: list[_Write],
        settled: dict[tuple[int, int], list[int]],
        error: sqlite3.Error,
    ) -> None:
        logger.error("journal write failed, nothing of it was stored: %s", error)
        with self._condition:
            for key, message_ids in settled.items():
                self._settled[key] = message_ids + self._settled.get(key, [])
            if settled and not self._stopping:
                self._flush_due_s = time.monotonic() + _RETRY_AFTER_FAILURE_S
        for item in group:
            if not item.result.done():
                item.result.set_exception(
                    Unavailable(f"the journal could not be written ({error}); check the disk")
                )

    def _housekeep(self) -> None:
        if time.monotonic() < self._housekeeping_due_s:
            return
        try:
            more = self._journal.housekeep()
        except sqlite3.Error as error:
            logger.warning("journal housekeeping failed, to be tried again: %s", error)
            more = False
        self._housekeeping_due_s = time.monotonic() + (0.0 if more else _HOUSEKEEPING_INTERVAL_S)


def _grouped(items: list[_Write]) -> list[list[_Write]]:
    """Split `items`, in order, into runs that may share a transaction."""
    groups: list[list[_Write]] = []
    for item in items:
        if groups and not item.alone and not groups[-1][0].alone:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups
