"""Processes that die are started again, what they leave behind is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ami_cli import processes
from ami_cli.processes import Supervisor, pause_s
from ami_contract.errors import AmiError

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
# Its child leaves its session, as a process group would not notice.
PARENT = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
    "start_new_session=True); print(child.pid, flush=True); time.sleep(60)"
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wait(ready: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what happens within `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(supervisor: Supervisor, name: str) -> int:
    """kill -9 a process and wait for its end; returns its id."""
    pid = supervisor.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait(lambda: supervisor.pid(name) is None)
    return pid


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause_s(number) for number in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_killed_process_starts_again_after_a_pause_that_grows_while_it_keeps_ending(
    tmp_path: Path,
) -> None:
    clock, said = Clock(), list[str]()
    with Supervisor(tmp_path, clock=clock) as supervisor:
        supervisor.start("part", SLEEPER, restarts=True)
        supervisor.tend(said.append)
        assert said == []
        for pause in (1, 2, 4):
            kill(supervisor, "part")
            supervisor.tend(said.append)
            assert "part ended with status -9: " in said[-1]
            assert said[-1].endswith(f"starting it again in {pause} s")
            clock.now_s += pause - 0.1
            supervisor.tend(said.append)
            assert supervisor.pid("part") is None
            clock.now_s += 0.1
            supervisor.tend(said.append)
            assert said[-1] == f"part started again (pid {supervisor.pid('part')})"
        clock.now_s += 60  # it has run well since
        kill(supervisor, "part")
        supervisor.tend(said.append)
        assert said[-1].endswith("starting it again in 1 s")


def test_a_process_that_is_not_to_start_again_ends_the_whole(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start("part", SLEEPER)
        kill(supervisor, "part")
        with pytest.raises(AmiError, match="part ended with status -9"):
            supervisor.tend(print)


def test_a_process_told_to_restart_starts_at_once_and_keeps_its_children(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, clock=Clock()) as supervisor:
        supervisor.start("part", [sys.executable, "-c", PARENT], restarts=True)
        wait(lambda: (tmp_path / "part.log").read_text())
        worker = psutil.Process(int((tmp_path / "part.log").read_text()))
        before = supervisor.pid("part")
        supervisor.restart("part")
        wait(lambda: supervisor.pid("part") is None)
        supervisor.tend(said.append)
        supervisor.tend(said.append)
        assert supervisor.pid("part") not in (None, before)
        assert said == [f"part started again (pid {supervisor.pid('part')})"]
        assert worker.is_running()
    assert not worker.is_running()


def test_a_process_told_to_restart_that_does_not_end_is_killed(tmp_path: Path) -> None:
    clock = Clock()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER[2]
    with Supervisor(tmp_path, clock=clock) as supervisor:
        supervisor.start("part", [sys.executable, "-c", deaf], restarts=True)
        wait(lambda: (tmp_path / "part.log").read_text())
        before = supervisor.pid("part")
        supervisor.restart("part")
        clock.now_s += 15
        supervisor.tend(print)
        time.sleep(0.2)
        assert supervisor.pid("part") == before
        clock.now_s += 1
        supervisor.tend(print)
        wait(lambda: supervisor.pid("part") is None)
        supervisor.tend(print)
        supervisor.tend(print)
        assert supervisor.pid("part") not in (None, before)
        kill(supervisor, "part")  # it is as deaf to the stop


def test_a_stop_ends_children_that_outlived_their_killed_parent(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start("part", [sys.executable, "-c", PARENT], restarts=True)
        wait(lambda: (tmp_path / "part.log").read_text())
        orphan = psutil.Process(int((tmp_path / "part.log").read_text()))
        kill(supervisor, "part")
        assert orphan.is_running()
    assert not orphan.is_running()


def test_what_a_killed_supervisor_left_is_ended_by_the_next_with_its_mark(tmp_path: Path) -> None:
    script = (
        "import os, signal; from pathlib import Path\n"
        "from ami_cli.processes import Supervisor\n"
        f"supervisor = Supervisor(Path({str(tmp_path)!r}), mark='platform')\n"
        f"supervisor.start('part', {SLEEPER!r})\n"
        "print(supervisor.pid('part'), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    first = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    left = psutil.Process(int(first.stdout))
    wait(lambda: "up" in (tmp_path / "part.log").read_text())
    assert Supervisor(tmp_path, mark="another").end_leftovers() == []
    assert left.is_running()
    assert Supervisor(tmp_path, mark="platform").end_leftovers() == [left.pid]
    assert not left.is_running()


def test_signals_during_the_stop_leave_nothing_behind(tmp_path: Path) -> None:
    slow = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), exit(0)))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    script = (
        "import sys, time; from pathlib import Path\n"
        "from ami_cli.processes import Supervisor; from ami_cli.terminal import *\n"
        f"command = [sys.executable, '-c', {slow!r}]\n"
        f"with interrupted_by_sigterm(), Supervisor(Path({str(tmp_path)!r})) as supervisor:\n"
        "    for name in ('one', 'two'): supervisor.start(name, command)\n"
        "    time.sleep(60)"
    )
    platform = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait(lambda: all((tmp_path / f"{n}.log").exists() for n in ("one", "two")))
    wait(lambda: all("up" in (tmp_path / f"{n}.log").read_text() for n in ("one", "two")))
    family = psutil.Process(platform.pid).children(recursive=True)
    assert len(family) == 2
    # The first asks it to stop; the others come while it does.
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        platform.send_signal(number)
        time.sleep(0.3)
    platform.wait(20)
    assert not any(child.is_running() for child in family)


def test_a_log_that_has_grown_long_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LONGEST_LOG", 100)
    loud = [sys.executable, "-uc", "import time; print('x' * 200); time.sleep(1); print('later')"]
    with Supervisor(tmp_path) as supervisor:
        supervisor.start("part", loud, restarts=True)
        wait(lambda: len((tmp_path / "part.log").read_text()) > 100)
        supervisor.tend(print)
        assert (tmp_path / "part.log.1").read_text() == "x" * 200 + "\n"
        wait(lambda: (tmp_path / "part.log").read_text() == "later\n")
