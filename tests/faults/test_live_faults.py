"""kill -9 of Dagster's parts and of a run, amid the run, under `ami up`.

The short story has one sag detection, whose process is killed, and its repetition, during which
daemon, webserver and code server are killed at once. In the long one the hours' refresh, a sag
detection and a backfill meet, and both kills befall them. Nobody does anything about it.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml
from live_platform import LivePlatform, live
from support import HOUR, fill_lake
from webhook_server import Posts, posts

from ami_cli.instance import prepare_instance
from ami_contract.lake import DataDir, partition_key
from ami_contract.settings import Settings
from ami_dagster.build import build_definitions
from ami_dagster.jobs import DETECT_SAGS, REASON_TAG, REFRESH_HOURS, UNFINISHED
from ami_dagster.local_run import build_pending, instance_of
from ami_dagster.partitions import Stretch
from ami_store.lake import compact_hour, compaction_connection
from ami_store.warehouse import query

SECOND = HOUR + timedelta(hours=1)
DAGSTER = ("daemon", "webserver", "code-server")
BACKFILLED = ("minute_agg_pole", "pole_health_hourly")
LAUNCH = """mutation($job: String!, $tags: [ExecutionTag!]) { launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "ami", jobName: $job},
  runConfigData: {}, executionMetadata: {tags: $tags}
}) { __typename ... on PythonError { message } } }"""
BACKFILL = """mutation($assets: [AssetKeyInput!], $keys: [String!]) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $keys}) {
    __typename ... on PythonError { message } } }"""


@dataclass
class Stage:
    """A running platform whose runs can be watched and killed."""

    platform: LivePlatform
    instance: dg.DagsterInstance
    server: Posts

    @property
    def data(self) -> DataDir:
        return self.platform.data

    def launch_sags(self) -> None:
        """As its schedule does it."""
        tags = {**Stretch(SECOND, SECOND).tags, REASON_TAG: "open hour"}
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        answer = self.platform.ask(LAUNCH, job=DETECT_SAGS, tags=listed)
        assert "LaunchRunSuccess" in json.dumps(answer), answer

    def launch_backfill(self) -> None:
        """As a person does it, of marts by the hour."""
        answer = self.platform.ask(
            BACKFILL,
            assets=[{"path": [name]} for name in BACKFILLED],
            keys=[partition_key(HOUR), partition_key(SECOND)],
        )
        assert "LaunchBackfillSuccess" in json.dumps(answer), answer

    def dbt(self, besides: psutil.Process | None = None) -> psutil.Process:
        """The dbt that works now, or the next."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = [each for each in working_dbt(self.data) if each != besides]
            return bool(found)

        self.platform.wait(is_there, 120)
        return found[0]

    def kill_parts(self) -> None:
        """kill -9 of all of Dagster at once; waits until all of it works again."""
        pids = {part: self.platform.pid(part) for part in DAGSTER}
        for pid in pids.values():
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        for part, pid in pids.items():
            self.platform.wait(
                lambda p=part, before=pid: self.platform.pid(p) not in (None, before)
            )

    def kill_run(self, dbt: psutil.Process) -> None:
        """kill -9 of the process of a run, which leaves its dbt."""
        worker = dbt.parent()
        assert worker is not None
        assert "spawn_main" in " ".join(worker.cmdline())
        worker.kill()

    def wait_for_end(self, runs: int) -> None:
        """Wait until so many runs have succeeded and none is left."""

        def is_over() -> bool:
            good = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
            unfinished = self.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED))
            return self.instance.get_runs_count(good) >= runs and not unfinished

        self.platform.wait(is_over, 600)

    def ended(self) -> Counter[tuple[str, str]]:
        """Jobs and states of all runs."""
        return Counter((run.job_name, run.status.value) for run in self.instance.get_runs())

    def said(self) -> str:
        """All that is in the logs of all runs."""
        runs = self.instance.get_runs()
        return "\n".join(str(e) for run in runs for e in self.instance.all_logs(run.run_id))

    def told(self) -> list[tuple[str, str]]:
        """Notices about runs and checks; that no meter speaks is told too, and true."""
        bodies = [json.loads(body) for _, _, body in self.server.received]
        found = [(body["kind"], body["event"]) for body in bodies]
        return [each for each in found if each[0] in ("run_failed", "check_failed")]


def working_dbt(data: DataDir) -> list[psutil.Process]:
    """Processes of dbt that build the data folder now."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if (
                "build" in line
                and any(part.endswith("/dbt") for part in line)
                and process.environ().get("AMI_DATA_DIR") == str(data.root)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def prepare_quicker_instance(data: DataDir) -> Path:
    """The instance as it ships, but that run monitoring looks every second."""
    home = prepare_instance(Settings(data_dir=data.root, _env_file=None))
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    quicker = {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1}
    config["run_monitoring"] |= quicker
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return home


def compact(data: DataDir) -> None:
    """So that the landing sensor sees nothing late."""
    with compaction_connection() as con:
        for start in (HOUR, SECOND):
            compact_hour(data, start, now=SECOND, con=con)


@contextmanager
def staged(folder: Path, *, has_late_hours: bool) -> Iterator[Stage]:
    data = DataDir(folder / "data")
    fill_lake(data)
    if not has_late_hours:
        compact(data)
    with pytest.MonkeyPatch.context() as patch, posts(204) as server:
        patch.setenv("DAGSTER_HOME", str(data.dagster_home))
        home = prepare_quicker_instance(data)
        channel = {"AMI_ALERT_CHANNELS": "webhook", "AMI_ALERT_WEBHOOK_URL": server.url}
        with instance_of(home) as instance, live(folder, channel) as platform:
            yield Stage(platform, instance, server)


def rows_of(data: DataDir, table: str) -> list[tuple[object, ...]]:
    return query(data, f"SELECT * FROM {table} ORDER BY ALL").rows


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_is_repeated_and_goes_on_when_all_of_dagster_is_killed(
    tmp_path: Path,
) -> None:
    with staged(tmp_path, has_late_hours=False) as stage:
        stage.launch_sags()
        lost = stage.dbt()
        stage.kill_run(lost)
        stage.dbt(besides=lost)
        assert not lost.is_running()
        stage.kill_parts()
        stage.wait_for_end(1)
        ended = stage.ended()
        assert ended[DETECT_SAGS, "FAILURE"] == ended[DETECT_SAGS, "SUCCESS"] == 1
        assert "Could not set lock" not in stage.said()
        events = "SELECT meter_id, duration_s, min_voltage_v FROM voltage_events"
        assert query(stage.data, events).rows == [("m1", 6.0, 198.0)]
        [counts] = query(
            stage.data, "SELECT count(*), count(DISTINCT (meter_id, seq)) FROM readings"
        ).rows
        assert counts == (2400, 2400)
        # What mends itself is told to nobody but the log.
        assert stage.told() == []
        terminal = stage.platform.log.read_text()
        assert [terminal.count(f"{part} ended with status -9") for part in DAGSTER] == [1, 1, 1]
        assert [terminal.count(f"{part} started again") for part in DAGSTER] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_runs_at_once_with_kills_leave_what_one_build_leaves(tmp_path: Path) -> None:
    reference = DataDir(tmp_path / "reference")
    with staged(tmp_path / "live", has_late_hours=True) as stage:
        first = stage.dbt()
        stage.launch_sags()
        stage.launch_backfill()
        stage.kill_parts()
        stage.kill_run(stage.dbt(besides=first))
        # The sensor's refresh of the hours and of their day, the sags and the backfill.
        stage.wait_for_end(4)
        ended = stage.ended()
        assert ended[REFRESH_HOURS, "SUCCESS"] >= 1
        assert ended["refresh_days", "SUCCESS"] >= 1
        assert ended[DETECT_SAGS, "SUCCESS"] == 1
        assert ended["__ASSET_JOB", "SUCCESS"] == 1
        assert sum(number for (_, state), number in ended.items() if state == "FAILURE") == 1
        assert "Could not set lock" not in stage.said()
        assert stage.told() == []
    fill_lake(reference)
    settings = Settings(data_dir=reference.root, _env_file=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMI_DATA_DIR", str(reference.root))
        patch.setenv("DAGSTER_HOME", str(reference.dagster_home))
        home = prepare_instance(settings)
        with instance_of(home) as instance:
            outcome = build_pending(build_definitions(settings), instance, reference)
    assert outcome.failures == []
    marts = ("readings", "voltage_events", "superseded_events", "pole_events", "feeder_events",
             "minute_agg_pole", "pole_health_hourly", "meter_data_quality_hourly",
             "pole_health_daily", "dim_meter", "v_5min_pole")  # fmt: skip
    for mart in marts:
        assert rows_of(stage.data, mart) == rows_of(reference, mart), mart


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_that_is_killed_every_time_is_told_once_and_made_up_for_by_one_command(
    tmp_path: Path,
) -> None:
    with staged(tmp_path, has_late_hours=False) as stage:
        stage.launch_sags()
        lost = None
        for _ in range(3):
            lost = stage.dbt(besides=lost)
            stage.kill_run(lost)
        stage.platform.wait(lambda: stage.told() == [("run_failed", "alert")], 120)
        assert stage.ended()[DETECT_SAGS, "FAILURE"] == 3
        # As a person does in the UI, or the next tick of the schedule.
        stage.launch_sags()
        stage.wait_for_end(1)
        recovered = [("run_failed", "alert"), ("run_failed", "recovery")]
        stage.platform.wait(lambda: stage.told() == recovered, 120)
        events = "SELECT meter_id, duration_s, min_voltage_v FROM voltage_events"
        assert query(stage.data, events).rows == [("m1", 6.0, 198.0)]
