"""The platform's commands as child processes of one data folder, to be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from ami_cli.processes import accepts, free_port
from ami_contract.lake import DataDir


class Platform:
    """Commands of one data folder as child processes.

    Args:
        folder: holds the data folder and the log of all processes.
        environment: settings on top of folder and port.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.data = DataDir(folder / "data")
        self.port = free_port()
        self.log_path = folder / "log.txt"
        self._environment = {
            **os.environ,
            "AMI_DATA_DIR": str(self.data.root),
            "AMI_PUBSUB_PORT": str(self.port),
            # Many small micro-batches, so that a fault falls between and within them.
            "AMI_INGEST_MAX_MESSAGES": "20",
            **(environment or {}),
        }
        self._log = self.log_path.open("ab")
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, *arguments: str, before: tuple[str, ...] = (), data_dir: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command of `ami`.

        Args:
            arguments: of the command.
            before: command line that runs it.
            data_dir: instead of the platform's own.
        """
        own = {"AMI_DATA_DIR": str(data_dir)} if data_dir else {}
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "ami_cli.main", *arguments],
            env=self._environment | own,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = 120) -> int:
        return self.start(*arguments).wait(timeout_s)

    def simulate(self, config: str, start: datetime, window: timedelta) -> subprocess.Popen[bytes]:
        """Start a gateway that publishes `window` at full speed and writes its ground truth."""
        path = self.folder / f"config-{len(self._started)}.yaml"
        path.write_text(config)
        end = start + window
        return self.start(
            *("simulate", "--config", str(path), "--speed", "max"),
            *("--from", f"{start:%Y-%m-%dT%H:%M}", "--to", f"{end:%Y-%m-%dT%H:%M}"),
            *("--truth", str(self.data.truth)),
        )

    def start_pubsub(self) -> subprocess.Popen[bytes]:
        process = self.start("pubsub")
        wait_until(lambda: accepts(self.port))
        return process

    def landed(self) -> int:
        return len(list(self.data.landing.rglob("*.r*.parquet")))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop_all(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        self._log.close()


def wait_until(ready: Callable[[], bool], timeout_s: float = 60) -> None:
    assert comes_true(ready, timeout_s), f"waited {timeout_s:.0f} s"


def comes_true(ready: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it had ended before the kill"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def running(folder: Path, environment: dict[str, str] | None = None) -> Iterator[Platform]:
    platform = Platform(folder, environment)
    try:
        yield platform
    finally:
        platform.stop_all()
