"""`ami demo` stops all it started, whenever it is told to, and runs once per data folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ami_cli.processes import free_port


def family(data_dir: Path) -> list[str]:
    """Command lines of all processes that work in `data_dir`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AMI_DATA_DIR") == str(data_dir):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("2/4", signal.SIGTERM),
        pytest.param("refresh_hours", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_demo_told_to_stop_leaves_no_process_behind(
    tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    data_dir = tmp_path / "data"
    environment = {
        **os.environ,
        "AMI_DATA_DIR": str(data_dir),
        "AMI_PUBSUB_PORT": str(free_port()),
        "AMI_DAGSTER_PORT": str(free_port()),
        "AMI_CODE_SERVER_PORT": str(free_port()),
        "AMI_API_PORT": str(free_port()),
        "AMI_DASHBOARD_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "ami_cli.main", "demo"]
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 120
            while stage not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                assert demo.poll() is None, log.read_text()
                time.sleep(0.1)
            second = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            demo.send_signal(number)
            assert demo.wait(60) == 0, log.read_text()
        finally:
            if demo.poll() is None:
                demo.kill()
    assert second.returncode == 2
    assert f"the platform runs already (pid {demo.pid})" in second.stderr
    assert "stopped; the data stays in" in log.read_text()
    assert family(data_dir) == []
