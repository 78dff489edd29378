"""Reads a folder; gives a disk that can be filled and made read-only while processes use it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import psutil

from ami_contract.lake import DataDir

SPARE_BYTES: Final = 48 * 1024
_BUSY_S: Final = 2.0


class Disk(Protocol):
    """Where the platform under test writes."""

    root: Path
    """The data folder."""

    can_freeze: bool
    """Whether it can be made read-only."""

    def fill(self) -> None:
        """Leave no room."""

    def free(self) -> None:
        """Give the room back."""

    def freeze(self) -> bool:
        """Make the lake read-only; False when somebody keeps a file open for writing."""

    def thaw(self) -> None:
        """Make the lake writable again."""


class MountedDisk:
    """A file system in memory, within a mount namespace of one's own.

    Args:
        folder: where it is mounted.
        size_mb: how much it holds.
    """

    can_freeze = True

    def __init__(self, folder: Path, size_mb: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))
        self._folder = folder
        self._size_mb = size_mb
        self.root = folder / "data"
        self.root.mkdir()
        _run("mount", "--bind", str(self.root), str(self.root))
        data = DataDir(self.root)
        # Their files stay open for writing, which a mount waits for before it is read-only.
        for own in (data.pubsub, data.warehouse.parent, data.dagster_home,
                    data.parsed_models(None).parent, data.run, data.logs):  # fmt: skip
            own.mkdir(parents=True, exist_ok=True)
            _run("mount", "--bind", str(own), str(own))

    def fill(self) -> None:
        """Make the file system as small as what is in it."""
        # Others write at the same time, and it cannot be made smaller than what they have written.
        while not self._resize(f"{(shutil.disk_usage(self._folder).used + SPARE_BYTES) // 1024}k"):
            time.sleep(0.01)

    def free(self) -> None:
        """Make it as large as it was."""
        assert self._resize(f"{self._size_mb}m"), f"{self._folder} could not be made larger again"

    def _resize(self, size: str) -> bool:
        return _succeeds("mount", "-o", f"remount,size={size}", str(self._folder))

    def freeze(self) -> bool:
        """Remount the lake's folders read-only; Pub/Sub, warehouse and Dagster keep theirs."""
        deadline = time.monotonic() + _BUSY_S
        while time.monotonic() < deadline:
            if self._remount("ro"):
                return True
            time.sleep(0.01)
        return False

    def thaw(self) -> None:
        """Remount them writable."""
        assert self._remount("rw"), f"{self.root} could not be made writable again"

    def _remount(self, mode: str) -> bool:
        return _succeeds("mount", "-o", f"remount,bind,{mode}", str(self.root))


class LimitedDisk:
    """A folder in which running processes are forbidden to write; needs no rights.

    Args:
        root: the data folder.
        writers: ids of the processes that write into it.
    """

    can_freeze = False

    def __init__(self, root: Path, writers: Callable[[], Iterable[int]]) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._writers = writers

    def fill(self) -> None:
        """No file of theirs may grow any more."""
        self._limit(0)

    def free(self) -> None:
        """Files may grow again."""
        self._limit(None)

    def freeze(self) -> bool:
        """Not possible without a mount of one's own."""
        return False

    def thaw(self) -> None:
        """Nothing is frozen."""

    def _limit(self, size: int | None) -> None:
        for pid in self._writers():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                _, most = process.rlimit(psutil.RLIMIT_FSIZE)
                process.rlimit(psutil.RLIMIT_FSIZE, (most if size is None else size, most))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
