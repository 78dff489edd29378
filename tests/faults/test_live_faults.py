"""kill -9 of Dagster's parts and of a run under `ami up`, with three runs waiting for each other.

One story: the landing sensor has the hours refreshed; a sag detection and a backfill are launched
while it works; daemon, webserver and code server are killed amid it, then the process of the run
that comes next. Everything goes on by itself.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml
from live_platform import LivePlatform, live
from support import HOUR, fill_lake
from webhook_server import posts

from ami_cli.building import prepare_instance
from ami_contract.lake import DataDir, partition_key
from ami_contract.settings import Settings
from ami_dagster.jobs import DETECT_SAGS, REASON_TAG, REFRESH_HOURS, UNFINISHED
from ami_dagster.local_run import instance_of
from ami_dagster.partitions import Stretch
from ami_store.warehouse import query

SECOND = HOUR.replace(hour=15)
BACKFILLED = ("minute_agg_pole", "pole_health_hourly")
LAUNCH = """mutation($job: String!, $tags: [ExecutionTag!]) { launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "ami", jobName: $job},
  runConfigData: {}, executionMetadata: {tags: $tags}
}) { __typename ... on PythonError { message } } }"""
BACKFILL = """mutation($assets: [AssetKeyInput!], $keys: [String!]) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $keys}) {
    __typename ... on PythonError { message } } }"""


@dataclass(frozen=True)
class Run:
    """A run as it ended."""

    id: str
    job: str
    status: str
    tags: dict[str, str]
    said: str


@dataclass(frozen=True)
class Story:
    """What became of it."""

    data: DataDir
    runs: list[Run]
    killed: str
    terminal: str
    notices: list[dict[str, str]]


def quicker_instance(data: DataDir) -> Path:
    """The instance as it ships, but with run monitoring looking every second."""
    home = prepare_instance(Settings(data_dir=data.root, _env_file=None))
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    config["run_monitoring"] |= {
        "poll_interval_seconds": 1,
        "free_slots_after_run_end_seconds": 1,
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return home


def working_dbt(data: DataDir) -> psutil.Process | None:
    """The dbt that builds the data folder now."""
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if (
                "build" in line
                and any(part.endswith("/dbt") for part in line)
                and process.environ().get("AMI_DATA_DIR") == str(data.root)
            ):
                return process
        except psutil.Error:
            continue
    return None


def worker_of(dbt: psutil.Process) -> psutil.Process:
    parent = dbt.parent()
    assert parent is not None
    return parent


def ended_runs(instance: dg.DagsterInstance) -> list[Run]:
    return [
        Run(
            record.dagster_run.run_id,
            record.dagster_run.job_name,
            record.dagster_run.status.value,
            dict(record.dagster_run.tags),
            "\n".join(str(entry) for entry in instance.all_logs(record.dagster_run.run_id)),
        )
        for record in instance.get_run_records(ascending=True)
    ]


def launch_two(platform: LivePlatform) -> None:
    """A sag detection as its schedule asks for it, and a backfill as a person does."""
    tags = {**Stretch(SECOND, SECOND).tags, REASON_TAG: "open hour"}
    answers = [
        platform.ask(
            LAUNCH,
            job=DETECT_SAGS,
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        ),
        platform.ask(
            BACKFILL,
            assets=[{"path": [name]} for name in BACKFILLED],
            keys=[partition_key(HOUR), partition_key(SECOND)],
        ),
    ]
    assert "LaunchRunSuccess" in json.dumps(answers), answers
    assert "LaunchBackfillSuccess" in json.dumps(answers), answers


def told(received: list[tuple[str, dict[str, str], bytes]]) -> list[dict[str, str]]:
    return [json.loads(body) for _, _, body in received]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("live")
    data = DataDir(folder / "data")
    fill_lake(data)
    T = time.time()
    def lap(s):
        print(round(time.time()-T,1), s, flush=True)
    with pytest.MonkeyPatch.context() as patch, posts(204) as server:
        patch.setenv("DAGSTER_HOME", str(data.dagster_home))
        home = quicker_instance(data)
        channel = {"AMI_ALERT_CHANNELS": "webhook", "AMI_ALERT_WEBHOOK_URL": server.url}
        with live(folder, channel) as platform, instance_of(home) as instance:
            lap("up")

            def is_done() -> bool:
                records = instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
                runs = [
                    (r.dagster_run.job_name, r.dagster_run.status.value)
                    for r in instance.get_run_records(ascending=True)
                ]
                if runs != seen:
                    lap(runs)
                    seen[:] = runs
                return not records and len(runs) >= 5
            seen = []

            platform.wait(lambda: working_dbt(data))
            first = working_dbt(data)
            lap(f"first dbt {first}")
            launch_two(platform)
            lap("launched")
            for part in ("daemon", "webserver", "code-server"):
                platform.kill(part)
                lap(part)
            platform.wait(lambda: (dbt := working_dbt(data)) and dbt.pid != first.pid, 120)
            second = working_dbt(data)
            lap(f"second dbt {second}")
            worker = worker_of(second)
            [killed] = [
                r.dagster_run.run_id
                for r in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
                if f"-{r.dagster_run.run_id[:7]}" in " ".join(second.environ().values())
            ] or [""]
            worker.kill()
            lap("killed " + killed)
            platform.wait(is_done, 240)
            lap("done")
            runs = ended_runs(instance)
        yield Story(data, runs, killed, platform.log.read_text(), told(server.received))


def test_x(story: Story) -> None:
    for run in story.runs:
        print(run.job, run.status, run.tags)
        for line in run.said.split("\n"):
            if "Could not set lock" in line or "which a killed" in line or "IO Error" in line: print("LOCK", line[:300])
    print(story.terminal)
    print(story.notices)
    print(story.killed)
