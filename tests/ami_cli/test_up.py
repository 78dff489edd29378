"""`ami up` survives kill -9 of its parts and stops without leaving anything behind."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from live_platform import PARTS, LivePlatform, live

from ami_cli.reloading import run_workers
from ami_contract.lake import HOUR, floor_hour, hour_folder, partition_key

LAUNCH = """mutation($key: String!) { launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "ami",
             jobName: "compact_landed_hours"},
  runConfigData: {}, executionMetadata: {tags: [{key: "dagster/partition", value: $key}]}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
KEYS = """{ assetNodeOrError(assetKey: {path: ["raw_meter_readings"]}) {
  ... on AssetNode { partitionKeys } } }"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LivePlatform]:
    """An `ami up` of its own."""
    with live(tmp_path) as running:
        yield running


def test_every_part_killed_comes_back_and_a_stop_asked_for_twice_leaves_no_process(
    platform: LivePlatform,
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


@pytest.mark.slow
def test_older_readings_have_the_partitions_start_earlier(platform: LivePlatform) -> None:
    oldest = floor_hour(datetime.now(UTC)) - timedelta(days=2)
    before = platform.pid("code-server")
    (platform.data.landing / hour_folder(oldest)).mkdir(parents=True)
    platform.wait(lambda: platform.pid("code-server") not in (None, before))
    platform.wait(
        lambda: partition_key(oldest) in json.dumps(platform.ask(KEYS)),
    )
    assert f"readings from {oldest:%Y-%m-%d %H:%M} UTC on have come" in platform.log.read_text()
