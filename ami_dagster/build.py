"""All definitions: reads settings and the lake, gives what Dagster loads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg

from ami_contract.settings import Settings
from ami_dagster.defs.analytics.assets import (
    AmiTranslator,
    calendar_models,
    dbt_models,
    dbt_project,
    dbt_resource,
    served_models,
)
from ami_dagster.defs.analytics.schedules import schedules
from ami_dagster.defs.analytics.sensors import late_days_sensor
from ami_dagster.defs.edge import assets as edge
from ami_dagster.defs.ingest import assets as ingest
from ami_dagster.defs.lake.assets import compaction, landed_readings
from ami_dagster.defs.lake.replay import replay_archive
from ami_dagster.defs.lake.sensors import landed_hours_sensor
from ami_dagster.defs.serving.assets import publication
from ami_dagster.defs.serving.on_demand import data_quality_report, exports
from ami_dagster.jobs import REFRESH_DAYS, REFRESH_HOURS, jobs
from ami_dagster.partitions import daily_partitions, hourly_partitions
from ami_dagster.resources import Lake

DBT_PROJECT_DIR: Final = Path(__file__).resolve().parent.parent / "dbt_ami"


def build_definitions(settings: Settings) -> dg.Definitions:
    """Definitions for one deployment.

    The partitions start at the lake's oldest hour, read now.
    """
    data, now = settings.data, datetime.now(UTC)
    hours = hourly_partitions(data, now)
    project = dbt_project(DBT_PROJECT_DIR)
    days = daily_partitions(data, now)
    translator = AmiTranslator(hours, days)
    hourly, calendar = dbt_models(project, translator), calendar_models(project, translator)
    by_name = {job.name: job for job in jobs(hourly, calendar)}
    return dg.Definitions(
        assets=[
            *edge.assets(settings),
            *ingest.assets(settings),
            landed_readings(hours),
            compaction(hours),
            hourly,
            calendar,
            publication(served_models(hourly, calendar)),
            exports(days),
            data_quality_report(days),
        ],
        jobs=[*by_name.values(), replay_archive],
        sensors=[
            landed_hours_sensor(hours),
            late_days_sensor(by_name[REFRESH_HOURS], by_name[REFRESH_DAYS]),
        ],
        schedules=schedules(),
        resources={
            "lake": Lake(data_dir=str(settings.data_dir), removal_grace_s=settings.removal_grace_s),
            "dbt": dbt_resource(project),
        },
    )
