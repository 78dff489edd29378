"""`ami up` survives kill -9 of its parts and stops without leaving anything behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from ami_cli.processes import free_port
from ami_cli.reloading import run_workers
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder, partition_key

PARTS = {
    "code-server": "api grpc",
    "webserver": "dagster-webserver",
    "daemon": "dagster-daemon run",
    "pubsub": "ami_cli.main pubsub",
    "ingest": "ami_cli.main ingest",
    "api": "ami_cli.main api",
    "dashboard": "-m ami_dashboard",
}
LAUNCH = """mutation($key: String!) { launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "ami",
             jobName: "compact_landed_hours"},
  runConfigData: {}, executionMetadata: {tags: [{key: "dagster/partition", value: $key}]}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
LOADED = """{ workspaceOrError { ... on Workspace {
  locationEntries { locationOrLoadError { __typename } } } } }"""
KEYS = """{ assetNodeOrError(assetKey: {path: ["raw_meter_readings"]}) {
  ... on AssetNode { partitionKeys } } }"""


@dataclass
class Platform:
    """A running `ami up`."""

    process: subprocess.Popen[bytes]
    data: DataDir
    log: Path
    url: str

    def wait(self, ready: Callable[[], object], seconds: float = 60) -> None:
        """Wait for what happens within `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def pid(self, part: str) -> int | None:
        """Process id of a part, None while it does not run."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if PARTS[part] in " ".join(child.cmdline()) and child.status() != "zombie":
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def kill(self, part: str) -> None:
        """kill -9 a part and wait until another process does its work."""
        before = self.pid(part)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        self.wait(lambda: self.pid(part) not in (None, before))

    def ask(self, query: str, **variables: str) -> Any:
        """Answer of the UI's GraphQL; None while it does not answer."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.load(response)["data"]
        except (urllib.error.URLError, OSError):
            return None

    def is_loaded(self) -> bool:
        """Whether the UI shows the definitions."""
        return "RepositoryLocation" in json.dumps(self.ask(LOADED))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One `ami up` for all tests here."""
    folder = tmp_path_factory.mktemp("up")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AMI_")},
        "AMI_DATA_DIR": str(folder / "data"),
        "AMI_PUBSUB_PORT": str(free_port()),
        "AMI_DAGSTER_PORT": str(port),
        "AMI_CODE_SERVER_PORT": str(free_port()),
        "AMI_API_PORT": str(free_port()),
        "AMI_DASHBOARD_PORT": str(free_port()),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", "up"],
            env=environment,
            stdout=output,
            stderr=output,
        )
        running = Platform(process, DataDir(folder / "data"), log, f"http://127.0.0.1:{port}")
        try:
            running.wait(lambda: "stop with Ctrl-C" in log.read_text(), 120)
            running.wait(running.is_loaded)
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def test_every_part_killed_comes_back_and_a_run_goes_on_without_the_daemon(
    platform: Platform,
) -> None:
    hour = floor_hour(datetime.now(UTC)) - HOUR
    launched = platform.ask(LAUNCH, key=partition_key(hour))["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    code_server = platform.pid("code-server")
    assert code_server is not None
    platform.wait(lambda: run_workers(code_server))
    platform.kill("daemon")
    run_id = launched["run"]["runId"]
    platform.wait(
        lambda: platform.ask(STATUS, id=run_id)["runOrError"]["status"] == "SUCCESS",
    )
    for part in ("code-server", "webserver", "pubsub", "ingest", "api", "dashboard"):
        platform.kill(part)
    platform.wait(platform.is_loaded)
    said = platform.log.read_text()
    for part in PARTS:
        assert f"{part} ended with status -9" in said
        assert f"{part} started again (pid {platform.pid(part)})" in said


def test_older_readings_have_the_partitions_start_earlier(platform: Platform) -> None:
    oldest = floor_hour(datetime.now(UTC)) - timedelta(days=2)
    before = platform.pid("code-server")
    (platform.data.landing / hour_folder(oldest)).mkdir(parents=True)
    platform.wait(lambda: platform.pid("code-server") not in (None, before))
    platform.wait(
        lambda: partition_key(oldest) in json.dumps(platform.ask(KEYS)),
    )
    assert f"readings from {oldest:%Y-%m-%d %H:%M} UTC on have come" in platform.log.read_text()


def test_a_stop_leaves_no_process_even_if_asked_twice(platform: Platform) -> None:
    family = psutil.Process(platform.process.pid).children(recursive=True)
    assert len(family) >= len(PARTS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        platform.process.send_signal(number)
        time.sleep(0.5)
    assert platform.process.wait(60) == 0
    assert [process for process in family if _works(process)] == []
    assert "stopped; the data stays in" in platform.log.read_text()


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
