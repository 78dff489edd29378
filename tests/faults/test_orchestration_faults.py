"""Bad input to the runs: a damaged landed file, rows that fail a data test, a model that fails.

Real runs over a lake that the ingest has filled; sensors are evaluated as the daemon does it. Tests
that act on the shared platform leave it as they found it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from sensor_stage import ClockedLake, Watched, told
from support import HOUR, fill_lake, stored_rows
from webhook_server import Posts, posts

import ami_dagster.build
from ami_cli.instance import prepare_instance
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_dagster.build import build_definitions
from ami_dagster.defs.analytics.schedules import schedules
from ami_dagster.local_run import instance_of
from ami_dagster.partitions import Stretch, pending_hours
from ami_store.quarantine import quarantined
from ami_store.warehouse import query
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.pipeline import Ingest

SECOND = HOUR + timedelta(hours=1)
FULL_HOUR = SECOND
NOW = SECOND + timedelta(hours=5, minutes=8)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
GOOD_EVENTS = [("m1", 6.0, 198.0)]


def voltages(meter_id: str) -> list[float]:
    """Ten minutes before and after 15:00; m1 sags 6 s across the full hour."""
    found = [240.0] * 1200
    if meter_id == "m1":
        found[597:603] = [200.0, 198.0, 199.0, 201.0, 202.0, 203.0]
    return found


def ingest(data: DataDir) -> None:
    """Store both meters' readings, a message of a meter per five minutes, archived too."""
    graph = BoundedGraph(Ingest(data.root, PayloadBounds(1_000_000, 1_000_000)))
    for part in range(4):
        start = FULL_HOUR + timedelta(minutes=5 * (part - 2))
        clock = start + timedelta(minutes=5)
        messages = []
        for meter_id in ("m1", "m2"):
            values = voltages(meter_id)[300 * part : 300 * (part + 1)]
            rows = stored_rows(start, values, meter_id=meter_id).to_pylist()
            readings = [
                {
                    "event_ts": row["event_ts"].isoformat(),
                    **{name: row[name] for name in ("meter_id", "pole_id", "seq", "voltage_v")},
                    **{name: row[name] for name in ("current_a", "power_kw")},
                }
                for row in rows
            ]
            attributes = {"batch_id": f"{meter_id}-{part}", "content_type": "application/json"}
            payload = json.dumps(readings).encode()
            messages.append(Message(f"{meter_id}-{part}", clock, attributes, payload))
        graph.run([MessageBatch(f"{clock:%Y%m%dT%H%M%S}-{part}", clock, messages)])


@dataclass
class Platform:
    """A data folder, its definitions and instance, and what people are told."""

    data: DataDir
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    server: Posts
    failures: Watched = field(init=False)

    def __post_init__(self) -> None:
        [sensor] = [s for s in self.definitions.sensors or [] if s.name == "failures"]
        assert isinstance(sensor, dg.SensorDefinition)
        self.failures = Watched(sensor, self.data, self.instance)

    def run(self, job: str, tags: dict[str, str], **options: object) -> dg.DagsterRun:
        """A run in this process, and a look of the sensor at how it ended, twice."""
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=QUIET, tags=tags, raise_on_error=False, **options
        )
        for _ in range(2):
            self.failures.look(datetime.now(UTC))
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        return run

    def told(self) -> list[tuple[str, str, list[str]]]:
        """Kind, event and subjects of all notices since the last time."""
        found = [(kind, event, sorted(subjects)) for kind, event, subjects in told(self.server)]
        self.server.received.clear()
        return found

    def failing_rows(self, run: dg.DagsterRun, model: str) -> list[tuple[object, object]]:
        """Broken rule and lowest voltage [V] of what the failed checks of a model show."""
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        found = []
        for entry in self.instance.all_logs(run.run_id, of_type=kind):
            evaluation = entry.get_dagster_event().asset_check_evaluation_data
            if not evaluation.passed and evaluation.asset_key == dg.AssetKey(model):
                for record in evaluation.metadata["failing_rows"].records:
                    found.append((record.data["broken_rule"], record.data["min_voltage_v"]))
        return found

    def events(self) -> list[tuple[object, ...]]:
        """What readers see of the events: meter, duration [s], lowest voltage [V]."""
        sql = "SELECT meter_id, duration_s, min_voltage_v FROM voltage_events ORDER BY ALL"
        return query(self.data, sql).rows

    def readings(self) -> tuple[object, ...]:
        """Rows and distinct rows that readers see."""
        sql = "SELECT count(*), count(DISTINCT (meter_id, seq)) FROM readings"
        return query(self.data, sql).rows[0]


@contextmanager
def built_over_a_torn_file(folder: Path) -> Iterator[Platform]:
    """A lake that the ingest has filled, both hours built after a landed file has lost its end."""
    data = DataDir(folder / "data")
    ingest(data)
    fill_lake(DataDir(folder / "spare"))
    data.registry.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(DataDir(folder / "spare").registry, data.registry)
    torn = sorted((data.landing / "dt=2026-03-01" / "hr=15").glob("*.parquet"))[-1]
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.MonkeyPatch.context() as patch, posts(204) as server:
        use(data, patch)
        settings = Settings(
            data_dir=data.root,
            alert_channels="webhook",
            alert_webhook_url=server.url,
            _env_file=None,
        )
        home = prepare_instance(settings)
        with instance_of(home) as instance:
            platform = Platform(data, build_definitions(settings), instance, server)
            tags = {**Stretch(HOUR, SECOND).tags, "ami/reason": "hour closed"}
            run = platform.run("refresh_hours", tags)
            assert run.status == dg.DagsterRunStatus.SUCCESS
            assert run.tags["ami/events"] == "1"
            assert platform.told() == [
                ("check_failed", "alert", ["compacted_readings:landed_files_are_whole"])
            ]
            yield platform


def use(data: DataDir, patch: pytest.MonkeyPatch) -> None:
    """Give dbt's process and the instance their folder."""
    patch.setenv("AMI_DATA_DIR", str(data.root))
    patch.setenv("DAGSTER_HOME", str(data.dagster_home))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform that the tests of this file share."""
    with built_over_a_torn_file(tmp_path_factory.mktemp("orchestration")) as found:
        yield found


@pytest.fixture
def platform(shared: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The shared platform, with its environment."""
    use(shared.data, monkeypatch)
    return shared


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """Another one, for a test that does not put it back."""
    with built_over_a_torn_file(tmp_path) as found:
        yield found


def test_a_damaged_landed_file_goes_aside_and_the_rest_of_its_hour_is_built(
    platform: Platform,
) -> None:
    [found] = quarantined(platform.data)
    assert (found.hour, found.rows) == (SECOND, 600)
    assert found.reason
    assert platform.readings() == (1800, 1800)
    assert platform.events() == GOOD_EVENTS


@pytest.mark.slow
def test_the_command_that_the_check_names_brings_exactly_that_hour_back(
    own_platform: Platform,
) -> None:
    platform = own_platform
    [found] = quarantined(platform.data)
    program, *arguments = found.remedy.split()
    assert program == "ami"
    command = [sys.executable, "-m", "ami_cli.main", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    assert list(quarantined(platform.data)) == []

    [hourly] = [s for s in schedules() if s.name == "hours_hourly"]
    with dg.build_schedule_context(
        instance=platform.instance,
        scheduled_execution_time=NOW,
        resources={"lake": ClockedLake(data_dir=str(platform.data.root), at=NOW.isoformat())},
    ) as context:
        [request] = hourly(context)
    assert Stretch.of_tags(request.tags) == Stretch(SECOND, SECOND)

    run = platform.run("refresh_hours", dict(request.tags))
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert platform.readings() == (2400, 2400)
    assert platform.events() == GOOD_EVENTS
    assert (run.tags["ami/reason"], run.tags["ami/events"]) == ("hour closed", "1")
    assert pending_hours(platform.data) == []
    assert platform.told() == [
        ("check_failed", "recovery", ["compacted_readings:landed_files_are_whole"])
    ]


def test_rows_that_fail_a_data_test_are_published_by_no_run(platform: Platform) -> None:
    with duckdb.connect(str(platform.data.warehouse)) as con:
        con.execute("UPDATE int_low_readings SET voltage_v = -voltage_v")
    tags = Stretch(HOUR, SECOND).tags
    run = platform.run("detect_sags", {**tags, "ami/reason": "open hour"})
    assert run.status == dg.DagsterRunStatus.FAILURE
    logs = platform.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert "Got " in str(logs)
    assert "\\x1b" not in str(logs)
    assert platform.failing_rows(run, "voltage_events") == [("min_voltage_pu >= 0", -203.0)]
    assert platform.events() == GOOD_EVENTS
    assert platform.told() == [("run_failed", "alert", ["detect_sags"])]

    # As the next run of another job does.
    publication = [dg.AssetKey("published_warehouse")]
    run = platform.run("refresh_days", {}, asset_selection=publication)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    with duckdb.connect(str(platform.data.warehouse), read_only=True) as con:
        assert con.execute("SELECT min(min_voltage_v) FROM voltage_events").fetchone() == (-203.0,)
    assert platform.events() == GOOD_EVENTS
    assert platform.told() == []

    # Materialize, as a person does it in the UI, restates the hours whatever has changed.
    run = platform.run("detect_sags", tags)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert platform.events() == GOOD_EVENTS
    assert platform.told() == [("run_failed", "recovery", ["detect_sags"])]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_that_fails_stops_neither_the_events_nor_what_is_published(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "dbt_ami"
    ignored = shutil.ignore_patterns("dbt_models-*", "calendar_models-*", "logs")
    shutil.copytree(ami_dagster.build.DBT_PROJECT_DIR, project, ignore=ignored)
    model = project / "models" / "marts" / "monitoring" / "minute_agg_pole.sql"
    whole = model.read_text()
    model.write_text(f"{whole}\nwhere no_such_column = 1\n")
    monkeypatch.setattr(ami_dagster.build, "DBT_PROJECT_DIR", project)
    settings = Settings(data_dir=platform.data.root, _env_file=None)
    broken = Platform(
        platform.data, build_definitions(settings), platform.instance, platform.server
    )
    broken.failures = platform.failures
    sql = "SELECT count(*) FROM minute_agg_pole"
    before = query(platform.data, sql).rows

    tags = {**Stretch(HOUR, SECOND).tags, "ami/reason": "hour closed"}
    run = broken.run("refresh_hours", tags)
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert platform.told() == [("run_failed", "alert", ["refresh_hours"])]
    run = broken.run("detect_sags", {**tags, "ami/reason": "open hour"})
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert query(platform.data, sql).rows == before
    assert platform.events() == GOOD_EVENTS
    # What is built of changed models is not complete.
    assert pending_hours(platform.data) == [HOUR, SECOND]

    model.write_text(whole)
    run = broken.run("refresh_hours", tags)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert query(platform.data, sql).rows == before
    assert pending_hours(platform.data) == []
    assert platform.told() == [("run_failed", "recovery", ["refresh_hours"])]
