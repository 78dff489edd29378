"""The nightly retention in Dagster: what it deletes, which runs it keeps, when it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ami_contract.lake import DataDir, minute_folder
from ami_contract.settings import Settings
from ami_dagster.defs.retention import kept_in_lake, retention_job, retention_schedule
from ami_dagster.local_run import instance_of
from ami_dagster.resources import Lake
from ami_dagster.run_retention import prune_runs
from ami_store.retention import Kept

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-03-01-00:00")
FIRST, SECOND = "2026-03-01-00:00", "2026-03-01-01:00"


@dg.asset(partitions_def=HOURS)
def hourly() -> None:
    print("said by a run")


@dg.asset
def whole() -> None:
    pass


@dg.job
def idle() -> None:
    pass


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance of the product's template, with its SQLite files."""
    home = tmp_path / "home"
    home.mkdir()
    template = Path(__file__).parents[2] / "dagster.yaml"
    (home / "dagster.yaml").write_text(template.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with instance_of(home) as instance:
            yield instance


def make(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, key: str | None = None) -> str:
    return dg.materialize([asset], instance=instance, partition_key=key).run_id


def test_runs_that_made_the_newest_of_an_asset_or_partition_stay(
    instance: dg.DagsterInstance,
) -> None:
    replaced, first, second = (make(instance, hourly, key) for key in (FIRST, FIRST, SECOND))
    replaced_whole, newest_whole = make(instance, whole), make(instance, whole)
    bare = idle.execute_in_process(instance=instance).run_id
    at_work = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED).run_id

    removed = prune_runs(instance, datetime.now(UTC) + timedelta(minutes=1))

    left = {run.run_id for run in instance.get_runs()}
    assert left == {first, second, newest_whole, at_work}
    assert removed == len({replaced, replaced_whole, bare})
    made = instance.get_materialized_partitions(dg.AssetKey("hourly"))
    assert set(made) == {FIRST, SECOND}
    shards = instance.event_log_storage.path_for_shard(first)  # type: ignore[attr-defined]
    names = {path.stem for path in Path(shards).parent.glob("*.db")}
    assert names & {replaced, replaced_whole, bare} == set()
    assert first in names


def test_old_runs_that_stay_do_not_hide_later_ones(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {make(instance, hourly, key) for key in (FIRST, SECOND)}
    for _ in range(3):
        make(instance, whole)
    monkeypatch.setattr("ami_dagster.run_retention._MOST", 1)
    monkeypatch.setattr("ami_dagster.run_retention._AT_ONCE", 1)
    assert prune_runs(instance, datetime.now(UTC) + timedelta(minutes=1)) == 1
    left = {run.run_id for run in instance.get_runs()}
    assert kept < left
    assert len(left) == 4


def test_runs_of_the_days_that_are_kept_stay(instance: dg.DagsterInstance) -> None:
    make(instance, whole)
    make(instance, whole)
    assert prune_runs(instance, datetime.now(UTC) - timedelta(days=1)) == 0
    assert len(instance.get_runs()) == 2


def test_the_job_deletes_what_the_settings_say(instance: dg.DagsterInstance, data: DataDir) -> None:
    at = datetime.now(UTC) - timedelta(days=40)
    old = data.archive_raw / minute_folder("p1", at) / "a.jsonl"
    old.parent.mkdir(parents=True)
    old.write_text("x")
    os.utime(old, (at.timestamp(), at.timestamp()))
    settings = Settings(data_dir=data.root, retention_archive_days=30, retention_runs_days=30)
    result = retention_job(settings).execute_in_process(
        instance=instance, resources={"lake": Lake(data_dir=str(data.root))}
    )
    assert result.success
    assert not old.exists()


def test_a_night_that_cannot_delete_says_why_in_one_line(
    instance: dg.DagsterInstance, data: DataDir
) -> None:
    (data.archive_raw / "pole_id=p1" / "dt=someday").mkdir(parents=True)
    settings = Settings(data_dir=data.root, retention_archive_days=30)
    result = retention_job(settings).execute_in_process(
        instance=instance,
        resources={"lake": Lake(data_dir=str(data.root))},
        raise_on_error=False,
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    assert "dt=someday is no day of this lake" in (error.cause or error).message


def test_the_lake_of_the_profile_gcp_is_not_touched() -> None:
    settings = Settings(profile="gcp", retention_archive_days=30)
    assert kept_in_lake(settings) == Kept()


def test_the_night_comes_at_half_past_two_and_waits_for_the_one_before(
    instance: dg.DagsterInstance,
) -> None:
    schedule = retention_schedule()
    assert schedule.cron_schedule == "30 2 * * *"
    at = datetime(2026, 3, 10, 2, 30, tzinfo=UTC)

    def tick() -> object:
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context:
            return schedule(context)

    assert isinstance(tick(), dg.RunRequest)

    @dg.job(name="apply_retention")
    def job() -> None:
        pass

    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(tick(), dg.SkipReason)
