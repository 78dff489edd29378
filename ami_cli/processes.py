"""Child processes of `ami demo` and `ami up`: reads commands, gives running and stopped ones."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
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
from typing import Final
from uuid import uuid4

import psutil

from ami_contract.errors import AmiError, SettingsError

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MARK: Final = "AMI_SUPERVISOR"
_STOP_S: Final = 15.0
_LONGEST_PAUSE_S: Final = 60
# Run so long, an end is not the continuation of earlier ones.
_RAN_WELL_S: Final = 60.0
_LONGEST_LOG: Final = 64 * 1024**2
_TAIL: Final = 4096


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
    """Hold `lock` for the block; the file says who does.

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
        try:
            yield
        finally:
            file.truncate(0)


def holder(lock: Path) -> int | None:
    """Process id of who is in `only_one` with this lock, None when nobody is; takes no lock."""
    try:
        pid = int(lock.read_text(encoding="utf-8").strip())
        # A killed holder's id may be another process's by now.
        lives = psutil.Process(pid).create_time() <= lock.stat().st_mtime
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return pid if lives else None


@dataclass
class _Child:
    name: str
    command: list[str]
    stop_signal: signal.Signals
    restarts: bool
    log: Path
    process: subprocess.Popen[bytes]
    started_s: float
    failures: int = 0
    due_s: float | None = None
    told_s: float | None = None


def pause_s(failures: int) -> float:
    """Seconds before a process starts again after its n-th end in a row: 1, 2, 4 … 60."""
    return float(min(2 ** (failures - 1), _LONGEST_PAUSE_S))


@dataclass
class Supervisor:
    """Starts processes with a log file each and stops all of them, last started first.

    Attributes:
        logs: folder of the log files.
        environment: of the processes, on top of this one's.
        mark: what marks all processes below this supervisor, grandchildren and orphans too.
        clock: seconds that only go forward.
    """

    logs: Path
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid4().hex)
    clock: Callable[[], float] = time.monotonic
    _children: list[_Child] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: list[str],
        stop_signal: signal.Signals = signal.SIGTERM,
        *,
        restarts: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start `command` in a process group of its own; its output goes to `<logs>/<name>.log`.

        Args:
            name: for people, and for `stop`.
            command: program and arguments.
            stop_signal: what makes it end cleanly.
            restarts: whether `tend` starts it again when it ends by itself.
        """
        log = self.logs / f"{name}.log"
        process = self._spawn(command, log)
        self._children.append(
            _Child(name, command, stop_signal, restarts, log, process, self.clock())
        )
        return process

    def _spawn(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        self.logs.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  (our own commands)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, _MARK: self.mark},
                start_new_session=True,
            )

    def pid(self, name: str) -> int | None:
        """Process id of a running process, None while it does not run."""
        for child in self._children:
            if child.name == name and child.process.poll() is None:
                return child.process.pid
        return None

    def check(self) -> None:
        """Raise AmiError when a process has ended by itself; names its log."""
        for child in self._children:
            if child.process.poll() is not None:
                raise AmiError(_ended(child))

    def tend(self, report: Callable[[str], None]) -> None:
        """Start again what has ended, after a pause that doubles while it keeps ending.

        To be called about every second; `report` gets a line for every end and every start.

        Raises:
            AmiError: a process that is not to start again has ended.
        """
        now_s = self.clock()
        for child in self._children:
            _keep_short(child.log)
            if child.due_s is not None:
                if now_s >= child.due_s:
                    child.process = self._spawn(child.command, child.log)
                    child.started_s, child.due_s, child.told_s = now_s, None, None
                    report(f"{child.name} started again (pid {child.process.pid})")
            elif child.process.poll() is not None:
                if not child.restarts:
                    raise AmiError(_ended(child))
                if child.told_s is not None:
                    child.due_s = now_s
                    continue
                ran_well = now_s - child.started_s >= _RAN_WELL_S
                child.failures = 1 if ran_well else child.failures + 1
                pause = pause_s(child.failures)
                child.due_s = now_s + pause
                report(f"{_ended(child)}; starting it again in {pause:.0f} s")
            elif child.told_s is not None and now_s - child.told_s > _STOP_S:
                child.process.kill()

    def restart(self, name: str) -> None:
        """Have a process end, its children not, and `tend` start it again at once.

        One that does not end within 15 s is killed.
        """
        for child in self._children:
            if child.name == name and child.process.poll() is None and child.told_s is None:
                child.told_s = self.clock()
                child.process.send_signal(child.stop_signal)

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait for `ready`; raises AmiError when it takes too long or a process ends."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise AmiError(f"{what} did not happen within {timeout_s:.0f} s; see {self.logs}")
            time.sleep(0.1)

    def stop(self, name: str) -> None:
        """Stop one process by its signal, after 15 s by SIGKILL, with all its children."""
        for child in [child for child in self._children if child.name == name]:
            if child.process.poll() is None:
                _signal_group(child.process, child.stop_signal)
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(_STOP_S)
                _signal_group(child.process, signal.SIGKILL)
                child.process.wait()
            self._children.remove(child)

    def stop_all(self) -> None:
        """Stop everything, last started first; further signals do not cut it short."""
        with undisturbed():
            for name in [child.name for child in reversed(self._children)]:
                self.stop(name)
            self.end_leftovers()

    def end_leftovers(self) -> list[int]:
        """End what carries the mark and is no child of ours; returns the ids of what was ended.

        Such are children of processes that were killed, and all that a killed supervisor with the
        same mark has left.
        """
        own = {child.process.pid for child in self._children}
        found = [process for process in _marked(self.mark) if process.pid not in own]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(found, timeout=_STOP_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_STOP_S)
        return [process.pid for process in found]

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()


def _ended(child: _Child) -> str:
    with child.log.open("rb") as log:
        log.seek(max(0, child.log.stat().st_size - _TAIL))
        lines = log.read().decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "it said nothing"
    return f"{child.name} ended with status {child.process.returncode}: {said} (log: {child.log})"


def _keep_short(log: Path) -> None:
    """Move what a long log says to `<log>.1`; its writers append to what is left."""
    if log.stat().st_size > _LONGEST_LOG:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == mark and process.pid != os.getpid():
                found.append(process)
    return found


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and the end of the terminal for the block."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
