"""All definitions: reads settings and the lake, gives what Dagster loads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg

from ami_contract.settings import Settings
from ami_dagster.defs.analytics.assets import (
    dbt_models,
    dbt_project,
    dbt_resource,
    served_models,
)
from ami_dagster.defs.analytics.schedules import refresh_schedule
from ami_dagster.defs.edge import assets as edge
from ami_dagster.defs.ingest import assets as ingest
from ami_dagster.defs.lake.assets import compaction, landed_readings
from ami_dagster.defs.lake.sensors import landed_hours_sensor
from ami_dagster.defs.serving.assets import publication
from ami_dagster.partitions import hourly_partitions
from ami_dagster.resources import Lake

DBT_PROJECT_DIR: Final = Path(__file__).resolve().parent.parent / "dbt_ami"
REFRESH_JOB: Final = "refresh_warehouse"
COMPACT_JOB: Final = "compact_landed_hours"
REBUILD_JOB: Final = "rebuild_models"


def build_definitions(settings: Settings) -> dg.Definitions:
    """Definitions for one deployment.

    The hour partitions start at the lake's oldest hour, read now.
    """
    data = settings.data
    partitions = hourly_partitions(data, datetime.now(UTC))
    project = dbt_project(DBT_PROJECT_DIR)
    models = dbt_models(project)
    refresh = dg.define_asset_job(
        REFRESH_JOB,
        selection=dg.AssetSelection.assets("compacted_readings", "published_warehouse")
        | dg.AssetSelection.assets(models),
        executor_def=dg.in_process_executor,
        description="Compaction of the run's hours, all models and their tests, publication.",
    )
    compact = dg.define_asset_job(
        COMPACT_JOB,
        selection=dg.AssetSelection.assets("compacted_readings"),
        executor_def=dg.in_process_executor,
        description="Compaction of the run's hours only.",
    )
    rebuild = dg.define_asset_job(
        REBUILD_JOB,
        selection=dg.AssetSelection.assets("published_warehouse")
        | dg.AssetSelection.assets(models),
        executor_def=dg.in_process_executor,
        description="All models and their tests, publication; for a changed model or registry.",
    )
    return dg.Definitions(
        assets=[
            *edge.assets(settings),
            *ingest.assets(settings),
            landed_readings(partitions),
            compaction(partitions),
            models,
            publication(served_models(models)),
        ],
        jobs=[refresh, compact, rebuild],
        sensors=[landed_hours_sensor(REFRESH_JOB, partitions)],
        schedules=[refresh_schedule(REFRESH_JOB)],
        resources={
            "lake": Lake(data_dir=str(settings.data_dir), removal_grace_s=settings.removal_grace_s),
            "dbt": dbt_resource(project),
        },
    )
