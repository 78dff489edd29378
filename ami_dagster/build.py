"""All definitions: reads settings and the lake, gives what Dagster loads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg

from ami_contract.settings import Settings
from ami_dagster.alerts.channels import configured_channels
from ami_dagster.alerts.hops import Limits
from ami_dagster.alerts.observation import Watch
from ami_dagster.catalog import catalogued
from ami_dagster.defs.alerts.sensors import data_flow_sensor, failures_sensor
from ami_dagster.defs.analytics.assets import (
    AmiTranslator,
    calendar_models,
    dbt_models,
    dbt_project,
    dbt_resource,
    manifest_of,
    served_models,
)
from ami_dagster.defs.analytics.columns import source_metadata
from ami_dagster.defs.analytics.schedules import schedules
from ami_dagster.defs.analytics.sensors import late_days_sensor
from ami_dagster.defs.edge import assets as edge
from ami_dagster.defs.ingest import assets as ingest
from ami_dagster.defs.lake.assets import compaction, landed_readings
from ami_dagster.defs.lake.checks import poles_check
from ami_dagster.defs.lake.replay import replay_archive
from ami_dagster.defs.lake.sensors import landed_hours_sensor
from ami_dagster.defs.retention import retention_job, retention_schedule
from ami_dagster.defs.serving.assets import publication
from ami_dagster.defs.serving.dr_window import dr_window_report
from ami_dagster.defs.serving.exposures import exposures
from ami_dagster.defs.serving.on_demand import data_quality_report, exports
from ami_dagster.freshness import fail_window
from ami_dagster.jobs import AD_HOC_JOB, REFRESH_DAYS, REFRESH_HOURS, jobs
from ami_dagster.partitions import daily_partitions, hourly_partitions
from ami_dagster.resources import Lake

DBT_PROJECT_DIR: Final = Path(__file__).resolve().parent.parent / "dbt_ami"


def build_definitions(settings: Settings) -> dg.Definitions:
    """Definitions for one deployment.

    In the profile local the partitions start at the lake's oldest hour, read now.
    """
    if settings.profile == "gcp":
        # Google's libraries take longer to import than everything else together.
        from ami_dagster.build_cloud import cloud_definitions

        return cloud_definitions(settings, DBT_PROJECT_DIR)
    data, now = settings.data, datetime.now(UTC)
    hours = hourly_partitions(data, now)
    project = dbt_project(DBT_PROJECT_DIR)
    days = daily_partitions(data, now)
    translator = AmiTranslator(hours, days, project)
    manifest = manifest_of(project)
    hourly, calendar = dbt_models(project, translator), calendar_models(project, translator)
    on_demand = [exports(days), data_quality_report(days), dr_window_report()]
    by_name = {job.name: job for job in jobs(hourly, calendar)}
    publishing = publication(
        served_models(hourly, calendar), [*hourly.check_keys, *calendar.check_keys]
    )
    watch = _watch(settings, calendar)
    channels = configured_channels(settings)
    retaining = retention_job(settings)
    compacting = compaction(hours)
    checks = [key for made in (compacting, hourly, calendar) for key in made.check_keys]
    return dg.Definitions(
        assets=catalogued(
            source_metadata(manifest),
            *edge.assets(settings),
            *ingest.assets(settings),
            landed_readings(hours),
            compacting,
            hourly,
            calendar,
            publishing,
            *on_demand,
            *exposures(manifest, on_demand),
        ),
        asset_checks=[poles_check(watch)],
        jobs=[*by_name.values(), replay_archive, retaining],
        sensors=[
            landed_hours_sensor(hours),
            late_days_sensor(by_name[REFRESH_HOURS], by_name[REFRESH_DAYS]),
            data_flow_sensor(watch, channels),
            failures_sensor(
                [*by_name, replay_archive.name, retaining.name, AD_HOC_JOB],
                checks,
                channels,
            ),
        ],
        schedules=[*schedules(), retention_schedule()],
        resources={
            "lake": Lake(data_dir=str(settings.data_dir), removal_grace_s=settings.removal_grace_s),
            "dbt": dbt_resource(project),
        },
    )


def _watch(settings: Settings, calendar: dg.AssetsDefinition) -> Watch:
    """What the alerts look at, and from when on something is late."""
    return Watch(
        subscription=(
            f"projects/{settings.project_id}/subscriptions/{settings.pubsub_subscription}"
        ),
        limits=Limits(
            silence=timedelta(seconds=settings.silent_warn_s),
            arrival=timedelta(seconds=settings.arrival_limit_s),
        ),
        silence_is_error=timedelta(seconds=settings.silent_error_s),
        made_within={
            spec.key: fail_window(spec.freshness_policy)
            for spec in calendar.specs
            if spec.freshness_policy
        },
    )
