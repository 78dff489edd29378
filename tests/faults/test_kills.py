"""kill -9 of ingest, Pub/Sub and a Dagster run, each amid its work: nothing lost, nothing twice.

One story, because each kill builds on what the one before left: 8 meters publish two hours with
drops, duplicates and damaged readings while the processes that handle them are killed and started
again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ami_cli.processes import accepts, free_port
from ami_contract.lake import DataDir
from ami_dagster.local_run import instance_of
from ami_store.ledger import balance
from ami_store.warehouse import query

CONFIG = """
pole_id: pole-1
num_meters: 8
sample_hz: 1
publish_mode: batch
payload: json
network_profile: 5g
drop_prob: 0.001
duplicate_prob: 0.01
reorder_prob: 0.01
bad_payload_prob: 0.001
force_sag_every_s: 600
seed: 11
"""
WINDOW = ("--from", "2026-03-01T13:30", "--to", "2026-03-01T15:30", "--speed", "max")


class Platform:
    """Commands of one data folder as child processes."""

    def __init__(self, folder: Path) -> None:
        self.data = DataDir(folder / "data")
        self.port = free_port()
        self.config = folder / "config.yaml"
        self.config.write_text(CONFIG)
        self._environment = {
            **os.environ,
            "AMI_DATA_DIR": str(self.data.root),
            "AMI_PUBSUB_PORT": str(self.port),
            # Many small micro-batches, so that a kill falls between and within them.
            "AMI_INGEST_MAX_MESSAGES": "40",
        }
        self._log = (folder / "log.txt").open("ab")
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", *arguments],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> int:
        return self.start(*arguments).wait(120)

    def start_pubsub(self) -> subprocess.Popen[bytes]:
        process = self.start("pubsub")
        wait_until(lambda: accepts(self.port))
        return process

    def landed(self) -> int:
        return len(list(self.data.landing.rglob("*.r*.parquet")))

    def stop_all(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        self._log.close()


def wait_until(ready: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it had ended before the kill"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def running(folder: Path) -> Iterator[Platform]:
    platform = Platform(folder)
    try:
        yield platform
    finally:
        platform.stop_all()


def runs_dbt(process: subprocess.Popen[bytes]) -> bool:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        lines = [child.cmdline() for child in children]
        return any(
            "build" in line and any(part.endswith("/dbt") for part in line) for line in lines
        )
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform after all kills and restarts."""
    folder = tmp_path_factory.mktemp("kills")
    truth = str(folder / "data" / "truth")
    with running(folder) as platform:
        pubsub = platform.start_pubsub()
        ingest = platform.start("ingest")
        simulation = platform.start(
            "simulate", "--config", str(platform.config), *WINDOW, "--truth", truth
        )
        wait_until(lambda: platform.landed() >= 3)
        kill(ingest)
        landed = platform.landed()
        ingest = platform.start("ingest", "--drain", "4")
        wait_until(lambda: platform.landed() > landed)
        kill(pubsub)
        platform.start_pubsub()
        assert simulation.wait(120) == 0
        assert ingest.wait(120) == 0
        # What the killed server still had leased comes again after its deadline at the latest.
        assert platform.run("ingest", "--drain", "3") == 0
        build = platform.start("build")
        wait_until(lambda: runs_dbt(build))
        kill(build)
        assert platform.run("build") == 0
        yield platform


def test_no_reading_is_lost(survived: Platform) -> None:
    ledger = balance(survived.data, survived.data.truth)
    assert ledger.problems == []
    total = ledger.total
    assert total.expected == 8 * 7200
    assert total.lost == total.declared_lost


def test_no_reading_is_twice_in_the_marts(survived: Platform) -> None:
    [(rows, distinct)] = query(
        survived.data,
        "SELECT count(*), count(DISTINCT (meter_id, epoch, seq)) FROM readings",
    ).rows
    stored = balance(survived.data).total.stored
    assert rows == distinct == stored


def test_every_event_is_there_once(survived: Platform) -> None:
    [(events, distinct, overlapping)] = query(
        survived.data,
        """
        SELECT
            count(*),
            count(DISTINCT event_id),
            count(*) FILTER (start_ts <= previous_end)
        FROM (
            SELECT *, lag(end_ts) OVER (PARTITION BY meter_id ORDER BY start_ts) AS previous_end
            FROM voltage_events
        )
        """,
    ).rows
    assert events == distinct
    assert events >= 12  # one forced sag every 600 s of two hours
    assert overlapping == 0


def test_the_killed_run_is_recorded_as_failed(survived: Platform) -> None:
    with instance_of(survived.data.dagster_home) as instance:
        states = [record.dagster_run.status.value for record in instance.get_run_records()]
    assert sorted(states) == ["FAILURE", "SUCCESS"]


def test_dead_letters_keep_their_reason(survived: Platform) -> None:
    lines = [
        json.loads(line)
        for path in survived.data.deadletter.glob("segments/*/*/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert lines
    assert all(line["code"] and line["detail"] and line["payload"] for line in lines)
