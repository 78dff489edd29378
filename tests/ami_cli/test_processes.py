"""Child processes: started, watched, stopped with all their children."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ami_cli.processes import Supervisor, check_port, free_port, holder, only_one
from ami_contract.errors import AmiError, SettingsError

CHILD_OF_CHILD = (
    "import subprocess, sys, time; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print('up', flush=True); time.sleep(60)"
)


def test_a_stopped_process_takes_its_children_with_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        process = supervisor.start("parent", [sys.executable, "-c", CHILD_OF_CHILD])
        supervisor.wait_until(
            lambda: "up" in (tmp_path / "parent.log").read_text(), "the start", 20
        )
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 1
    assert process.poll() is not None
    psutil.wait_procs(family, timeout=5)
    assert not any(child.is_running() for child in family)


def test_a_process_that_ends_by_itself_is_named_with_its_last_line(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        process = supervisor.start("part", [sys.executable, "-c", "raise SystemExit('no luck')"])
        process.wait(20)
        with pytest.raises(AmiError, match=r"part ended with status 1: no luck \(log: .*part\.log"):
            supervisor.check()


def test_what_does_not_happen_in_time_is_an_error(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        begun = time.monotonic()
        with pytest.raises(AmiError, match="the impossible did not happen within 1 s"):
            supervisor.wait_until(lambda: False, "the impossible", 1)
        assert time.monotonic() - begun < 5


def test_a_busy_port_is_named_with_the_variable_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} \(Dagster UI\).*AMI_DAGSTER_PORT"):
            check_port(port, "AMI_DAGSTER_PORT", "Dagster UI")
    check_port(free_port(), "AMI_DAGSTER_PORT", "Dagster UI")


def test_a_second_holder_of_a_lock_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "platform.lock"
    with only_one(lock, "the platform"):
        code = (
            "import sys; from pathlib import Path; from ami_cli.processes import only_one\n"
            f"with only_one(Path({str(lock)!r}), 'the platform'): print('held')"
        )
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert second.returncode != 0
    assert "the platform runs already (pid " in second.stderr
    with only_one(lock, "the platform"):
        assert holder(lock) == os.getpid()
    assert holder(lock) is None


def test_a_lock_that_a_killed_holder_left_names_nobody(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert holder(lock) is None
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    lock.write_text(str(gone.pid))
    assert holder(lock) is None
    # Its id is another process's by now, which began after the file was written.
    lock.write_text(str(os.getpid()))
    os.utime(lock, (1, 1))
    assert holder(lock) is None
