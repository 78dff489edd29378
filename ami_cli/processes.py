"""Child processes of `ami demo` and `ami up`: reads commands, gives running and stopped ones."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from ami_contract.errors import AmiError, SettingsError

_STOP_S = 15.0


def ami_command(*arguments: str) -> list[str]:
    """Command line of another `ami` of this Python environment."""
    return [sys.executable, "-m", "ami_cli.main", *arguments]


def check_port(port: int, variable: str, purpose: str) -> None:
    """Raise SettingsError when a loopback port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise SettingsError(
                f"port {port} ({purpose}) is in use; stop what uses it or set {variable} to another"
            ) from error


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def only_one(lock: Path, what: str) -> Iterator[None]:
    """Hold `lock` for the block.

    Raises:
        SettingsError: another process holds it; names its pid.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise SettingsError(
                f"{what} runs already (pid {file.read().strip()}); stop it with Ctrl-C in its "
                "terminal, or give this one its own AMI_DATA_DIR and ports"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class _Child(NamedTuple):
    name: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    stop_signal: signal.Signals


@dataclass
class Supervisor:
    """Starts processes with a log file each and stops all of them, last started first.

    Attributes:
        logs: folder of the log files.
        environment: of the processes, on top of this one's.
    """

    logs: Path
    environment: dict[str, str] = field(default_factory=dict)
    _running: list[_Child] = field(default_factory=list)

    def start(
        self, name: str, command: list[str], stop_signal: signal.Signals = signal.SIGTERM
    ) -> subprocess.Popen[bytes]:
        """Start `command` in a process group of its own; its output goes to `<logs>/<name>.log`.

        `stop_signal` is what makes it end cleanly.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log = (self.logs / f"{name}.log").open("ab")
        process = subprocess.Popen(  # noqa: S603  (our own commands)
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )
        self._running.append(_Child(name, process, log, stop_signal))
        return process

    def check(self) -> None:
        """Raise AmiError when a process has ended by itself; names its log."""
        for child in self._running:
            if child.process.poll() is not None:
                raise AmiError(
                    f"{child.name} ended with status {child.process.returncode}: "
                    f"{self._last_line(child.name)} (log: {self.logs / f'{child.name}.log'})"
                )

    def _last_line(self, name: str) -> str:
        lines = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait for `ready`; raises AmiError when it takes too long or a process ends."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise AmiError(f"{what} did not happen within {timeout_s:.0f} s; see {self.logs}")
            time.sleep(0.2)

    def stop(self, name: str) -> None:
        """Stop one process by its signal, after 15 s by SIGKILL, with all its children."""
        for child in [child for child in self._running if child.name == name]:
            _signal_group(child.process, child.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(_STOP_S)
            _signal_group(child.process, signal.SIGKILL)
            child.process.wait()
            child.log.close()
            self._running.remove(child)

    def stop_all(self) -> None:
        """Stop everything, last started first; a second Ctrl-C does not cut it short."""
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for name in [child.name for child in reversed(self._running)]:
                self.stop(name)
        finally:
            signal.signal(signal.SIGINT, previous)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def answers(url: str) -> bool:
    """Whether an HTTP GET on loopback gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  (loopback)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def accepts(port: int) -> bool:
    """Whether something listens on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
