"""Run monitoring learns whether the process of a run lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from ami_dagster.launcher import WatchedRunLauncher

CONFIG = """
telemetry: {enabled: false}
run_launcher: {module: ami_dagster.launcher, class: WatchedRunLauncher}
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with our launcher."""
    (tmp_path / "dagster.yaml").write_text(CONFIG)
    with dg.DagsterInstance.from_config(str(tmp_path)) as found:
        yield found


def status(instance: dg.DagsterInstance, *pids: int) -> WorkerStatus:
    """Health of a started run whose events name these processes one after another."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("Something without a process", run)
    for pid in pids:
        instance.report_engine_event("Started", run, EngineEventData.in_process(pid))
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher)
    assert launcher.supports_check_run_worker_health
    return launcher.check_run_worker_health(run).status


def test_a_run_lives_as_long_as_the_first_process_that_its_events_name(
    instance: dg.DagsterInstance,
) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    assert status(instance) == WorkerStatus.RUNNING
    assert status(instance, os.getpid()) == WorkerStatus.RUNNING
    assert status(instance, ended.pid) == WorkerStatus.FAILED
    # Single steps have processes of their own, which end before the run.
    assert status(instance, os.getpid(), ended.pid) == WorkerStatus.RUNNING
    assert status(instance, ended.pid, os.getpid()) == WorkerStatus.FAILED


def test_a_process_that_got_the_id_of_an_ended_one_is_not_taken_for_it(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.Process.create_time", lambda self: 4e9)
    assert status(instance, os.getpid()) == WorkerStatus.FAILED
