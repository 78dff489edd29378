"""Reads a data directory; gives its only server the right to use it until the process ends."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ami_contract.errors import TransportError

_LOCK_FILE = "lock.sqlite3"
_PID_FILE = "server.pid"


class DirectoryLock:
    """An exclusive lock on a directory.

    SQLite's own file lock is used because it works on every system and the operating system
    frees it however the process ends.
    """

    def __init__(self, directory: Path) -> None:
        """Take the lock of an existing `directory`; raise TransportError if a server has it."""
        self._pid_path = directory / _PID_FILE
        self._connection = sqlite3.connect(
            directory / _LOCK_FILE, isolation_level=None, check_same_thread=False, timeout=0
        )
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise TransportError(
                f"a Pub/Sub server (pid {self._holder()}) is already running on {directory}: "
                "stop it, or choose another directory"
            ) from error
        self._pid_path.write_text(str(os.getpid()))

    def _holder(self) -> str:
        try:
            return self._pid_path.read_text().strip()
        except OSError:
            return "unknown"

    def release(self) -> None:
        """Give the directory free."""
        self._pid_path.unlink(missing_ok=True)
        self._connection.close()
