"""Reads a round of work; gives it a thread that repeats it at intervals, and at once when asked."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from itertools import count

from local_pubsub.errors import RequestRefused

logger = logging.getLogger(__name__)


class Upkeep:
    """A thread for what is due without any request: dead letters, retention, passed deadlines."""

    def __init__(self, interval_s: float) -> None:
        """Wait `interval_s` between two rounds."""
        self._interval_s = interval_s
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[int], None]) -> None:
        """Call `work` with the number of the round, from 0 on.

        A round that the disk or a stopping server refuses is logged; the next one tries again.
        """
        self._thread = threading.Thread(
            target=self._run, args=(work,), name="pubsub-upkeep", daemon=True
        )
        self._thread.start()

    def hurry(self) -> None:
        """Ask for a round without waiting for the interval."""
        self._wanted.set()

    def stop(self) -> None:
        """Finish the round at hand and end the thread."""
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, work: Callable[[int], None]) -> None:
        for number in count():
            if self._stopping.is_set():
                return
            self._wanted.clear()
            try:
                work(number)
            except (RequestRefused, sqlite3.Error) as error:
                logger.warning("upkeep round failed, to be tried again: %s", error)
                # Whoever hurries now would only see it fail again at once.
                self._stopping.wait(self._interval_s)
            if not self._stopping.is_set():
                self._wanted.wait(self._interval_s)
