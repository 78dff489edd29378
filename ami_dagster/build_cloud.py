"""Definitions of the profile gcp: reads settings, gives what Dagster loads; asks no network."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_dagster.alerts.channels import configured_channels
from ami_dagster.alerts.hops import Limits
from ami_dagster.alerts.observation import Watch
from ami_dagster.catalog import catalogued
from ami_dagster.cloud import Archive, GoogleCloud, RawTable
from ami_dagster.defs.alerts.sensors import failures_sensor
from ami_dagster.defs.analytics.assets import (
    AmiTranslator,
    calendar_models,
    dbt_models,
    dbt_project,
    dbt_resource,
    manifest_of,
)
from ami_dagster.defs.analytics.columns import source_metadata
from ami_dagster.defs.analytics.sensors import late_days_sensor
from ami_dagster.defs.cloud.assets import edge_assets, ingest_assets, stored_readings
from ami_dagster.defs.cloud.checks import archive_check, poles_check
from ami_dagster.defs.cloud.dataflow import drain_job, launch_job
from ami_dagster.defs.cloud.schedules import cloud_schedules
from ami_dagster.defs.cloud.sensors import cloud_flow_sensor, landed_days_sensor
from ami_dagster.defs.retention import retention_job, retention_schedule
from ami_dagster.defs.serving.exposures import exposures
from ami_dagster.freshness import HOURLY, fail_window
from ami_dagster.jobs import AD_HOC_JOB, REFRESH_DAYS, REFRESH_HOURS, jobs
from ami_dagster.resources import Lake

TARGET: Final = "bigquery"
# Every date that is on at some place while an hour passes.
_ALL_DATES: Final = [ZoneInfo("Etc/GMT+12"), ZoneInfo("UTC"), ZoneInfo("Etc/GMT-14")]


def cloud_definitions(settings: Settings, project_dir: Path) -> dg.Definitions:
    """Definitions for readings in BigQuery.

    The models are the same; what is local only (compaction, quarantine, the published snapshot,
    files for others) has no asset here.

    Args:
        settings: of the deployment.
        project_dir: where the dbt project lies.

    Raises:
        SettingsError: no project is named.
    """
    if settings.project_id == Settings.model_fields["project_id"].default:
        raise SettingsError(
            "AMI_PROJECT_ID names no Google Cloud project; set it to the warehouse's project"
        )
    first = datetime.combine(settings.bigquery_first_day, time(), UTC)
    hours = dg.HourlyPartitionsDefinition(start_date=first, end_offset=1)
    days = dg.DailyPartitionsDefinition(start_date=first, end_offset=1)
    project = dbt_project(project_dir, TARGET)
    translator = AmiTranslator(hours, days, project)
    manifest = manifest_of(project)
    hourly, calendar = dbt_models(project, translator), calendar_models(project, translator)
    by_name = {job.name: job for job in jobs(hourly, calendar, has_lake=False)}
    watch = _watch(settings, hourly, calendar)
    channels = configured_channels(settings)
    launching, draining = launch_job(settings), drain_job()
    retaining = retention_job(settings)
    own_jobs = [launching, draining, retaining]
    return dg.Definitions(
        assets=catalogued(
            source_metadata(manifest),
            *edge_assets(settings),
            *ingest_assets(settings),
            stored_readings(settings, days),
            hourly,
            calendar,
            *exposures(manifest, read=()),
        ),
        asset_checks=[poles_check(watch), archive_check()],
        jobs=[*by_name.values(), *own_jobs],
        sensors=[
            landed_days_sensor(days),
            late_days_sensor(by_name[REFRESH_HOURS], by_name[REFRESH_DAYS], _all_dates),
            cloud_flow_sensor(watch, channels),
            failures_sensor(
                [*by_name, *(job.name for job in own_jobs), AD_HOC_JOB],
                [key for made in (hourly, calendar) for key in made.check_keys],
                channels,
            ),
        ],
        schedules=[*cloud_schedules(first), retention_schedule()],
        resources={
            "cloud": GoogleCloud.of_settings(settings),
            "raw_table": RawTable(
                project_id=settings.project_id,
                location=settings.bigquery_location,
                dataset=settings.bigquery_dataset,
                maximum_bytes_billed=settings.bigquery_maximum_bytes_billed,
            ),
            "archive": Archive(project_id=settings.project_id, bucket=settings.archive_bucket_name),
            # Dagster's own folder and the clock; there is no lake below it.
            "lake": Lake(data_dir=str(settings.data_dir), removal_grace_s=settings.removal_grace_s),
            "dbt": dbt_resource(project),
        },
    )


def _all_dates(_data: DataDir) -> list[ZoneInfo]:
    return _ALL_DATES


def _watch(settings: Settings, hourly: dg.AssetsDefinition, calendar: dg.AssetsDefinition) -> Watch:
    """What the alerts look at, and from when on something is late."""
    made_within: Mapping[dg.AssetKey, timedelta] = {
        spec.key: fail_window(spec.freshness_policy)
        for definition in (hourly, calendar)
        for spec in definition.specs
        if spec.freshness_policy
    }
    return Watch(
        subscription=settings.subscription_path,
        limits=Limits(
            silence=timedelta(seconds=settings.silent_warn_s),
            arrival=timedelta(seconds=settings.arrival_limit_s),
            lag=timedelta(seconds=settings.dataflow_lag_limit_s),
        ),
        silence_is_error=timedelta(seconds=settings.silent_error_s),
        made_within={key: max(window, fail_window(HOURLY)) for key, window in made_within.items()},
    )
