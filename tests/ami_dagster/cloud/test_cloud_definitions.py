"""What Dagster loads in the profile gcp: keys, lineage, jobs; without credentials or a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_dagster.build import DBT_PROJECT_DIR, build_definitions

# What has no place where dbt's tables are what people query; `exports` is an exposure there.
LOCAL_ONLY = {
    "compacted_readings",
    "published_warehouse",
    "data_quality_report",
    "dr_window_report",
}
LINEAGE = {
    "ingest_job": {"pubsub_topic"},
    "raw_archive": {"ingest_job"},
    "dead_letter": {"ingest_job"},
    "raw_meter_readings": {"ingest_job"},
    "int_landed_windows": {"raw_meter_readings"},
    "stg_readings": {"raw_meter_readings", "int_landed_windows"},
    "stg_meters": {"meters"},
}


def names(graph: dg.BaseAssetGraph) -> set[str]:  # type: ignore[type-arg]
    return {key.to_user_string() for key in graph.get_all_asset_keys()}


@pytest.fixture(scope="session")
def graph(definitions: dg.Definitions) -> dg.AssetGraph:
    return definitions.resolve_asset_graph()


def test_lineage_runs_from_the_topic_over_the_job_to_the_same_models(graph: dg.AssetGraph) -> None:
    for name, parents in LINEAGE.items():
        above = graph.get(dg.AssetKey(name)).parent_keys
        assert {key.to_user_string() for key in above} == parents, name


def test_what_is_the_same_has_the_same_key_and_group_in_both_profiles(
    graph: dg.AssetGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMI_DATA_DIR", str(tmp_path))
    local = build_definitions(Settings(data_dir=tmp_path)).resolve_asset_graph()
    assert names(local) - names(graph) == LOCAL_ONLY
    assert names(graph) - names(local) == set()
    assert {name: graph.get(dg.AssetKey(name)).group_name for name in names(graph)} == {
        name: local.get(dg.AssetKey(name)).group_name for name in names(graph)
    }


def test_the_models_are_those_that_dbt_finds_for_bigquery(definitions: dg.Definitions) -> None:
    manifest = json.loads((DBT_PROJECT_DIR / "target" / "bigquery" / "manifest.json").read_text())
    assert manifest["metadata"]["adapter_type"] == "bigquery"
    dbt = definitions.resources["dbt"]
    assert dbt.target == "bigquery"


def test_raw_readings_are_partitioned_as_the_table_is(graph: dg.AssetGraph) -> None:
    partitions = graph.get(dg.AssetKey("raw_meter_readings")).partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    assert partitions.start == datetime(2026, 2, 20, tzinfo=UTC)
    hourly = graph.get(dg.AssetKey("pole_health_hourly")).partitions_def
    assert isinstance(hourly, dg.HourlyPartitionsDefinition)


def test_jobs_sensors_and_schedules_are_those_of_the_cloud(definitions: dg.Definitions) -> None:
    assert {job.name for job in definitions.jobs} == {
        "detect_sags",
        "refresh_hours",
        "refresh_days",
        "refresh_weeks",
        "refresh_calendar",
        "launch_ingest",
        "drain_ingest",
        "apply_retention",
    }
    assert {sensor.name for sensor in definitions.sensors} == {
        "landed_days",
        "late_days",
        "data_flow",
        "failures",
    }
    assert {schedule.name: schedule.cron_schedule for schedule in definitions.schedules} == {
        "sags_every_5_minutes": "*/5 * * * *",
        "hours_hourly": "8 * * * *",
        "days_daily": "40 0 * * *",
        "weeks_weekly": "20 * * * *",
        "retention_nightly": "30 2 * * *",
    }


def test_every_job_resolves_and_makes_models_of_bigquery_only(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    for name in ("detect_sags", "refresh_hours", "refresh_days", "refresh_weeks"):
        made = definitions.resolve_job_def(name).asset_layer.selected_asset_keys
        assert made
        assert not {key.to_user_string() for key in made} & LOCAL_ONLY


def test_the_archive_is_named_where_it_lies(graph: dg.AssetGraph, settings: Settings) -> None:
    metadata = graph.get(dg.AssetKey("raw_archive")).metadata
    assert metadata["path"] == "gs://grid-archive/raw/"
    assert settings.archive_bucket_name == "grid-archive"


def test_dbt_runs_on_the_target_bigquery_with_the_settings_values(
    definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said.txt"
    dbt = tmp_path / "dbt"
    dbt.write_text(f'#!/bin/sh\necho "$@ $DBT_TARGET_PATH" >> {said}\necho "dbt 1.11.0"\n')
    dbt.chmod(0o755)
    monkeypatch.setenv("DBT_TARGET_PATH", "target/bigquery")
    monkeypatch.setenv("AMI_PROJECT_ID", "grid")
    resource = definitions.resources["dbt"].model_copy(update={"dbt_executable": str(dbt)})
    resource.cli(["build"], raise_on_error=False).wait()
    last = said.read_text().splitlines()[-1]
    assert last.startswith(
        "--no-use-colors --log-level-file info build --target bigquery target/bigquery/"
    )


def test_a_project_that_is_not_named_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AMI_PROJECT_ID names no Google Cloud project"):
        build_definitions(Settings(profile="gcp", data_dir=tmp_path))


def test_partitions_cover_the_open_hour(graph: dg.AssetGraph) -> None:
    hourly = graph.get(dg.AssetKey("pole_health_hourly")).partitions_def
    assert isinstance(hourly, dg.HourlyPartitionsDefinition)
    open_hour = datetime.now(UTC).strftime("%Y-%m-%d-%H:00")
    assert hourly.has_partition_key(open_hour)
