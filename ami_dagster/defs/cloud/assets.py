"""External assets of the cloud: topic, registry, Dataflow job, archive, dead letter, raw table.

Keys, groups and lineage are those of the local profile; what is stored where is not.
"""

from typing import Any

import dagster as dg

from ami_contract.settings import Settings
from ami_dagster.cloud import RAW_TABLE, REGISTRY_TABLE
from ami_dagster.defs.edge import assets as edge
from ami_dagster.defs.ingest import assets as ingest
from ami_dagster.defs.lake.assets import GROUP as LAKE_GROUP
from ami_dagster.freshness import AS_BIGQUERY_TELLS

# Attributes that differ, by asset.
_Places = dict[str, dict[str, Any]]


def edge_assets(settings: Settings) -> list[dg.AssetSpec]:
    """Topic and registry as they are on Google Cloud."""
    place: _Places = {
        "pubsub_topic": {
            "metadata": {"topic": f"projects/{settings.project_id}/topics/{settings.pubsub_topic}"}
        },
        "meters": {
            "kinds": {"bigquery"},
            "description": (
                "Registry of the fleet, one row per meter and period of service: a table that "
                "people edit."
            ),
            "metadata": {"table": _table(settings, REGISTRY_TABLE)},
        },
    }
    return _placed(edge.assets(settings), place)


def ingest_assets(settings: Settings) -> list[dg.AssetSpec]:
    """Dataflow job, raw archive and dead letter."""
    bucket = settings.archive_bucket_name
    place: _Places = {
        "ingest_job": {
            "kinds": {"dataflow", "beam"},
            "description": (
                "The Beam graph decode → validate → enrich → archive, BigQuery, dead letter as a "
                "streaming job on Dataflow. The sensor `data_flow` observes its state, its system "
                "lag and what waits in its subscription; the jobs `launch_ingest` and "
                "`drain_ingest` start and end it."
            ),
            "metadata": {
                "job": settings.dataflow_job_name,
                "region": settings.dataflow_region,
                "subscription": settings.subscription_path,
                "console": dg.MetadataValue.url(
                    f"https://console.cloud.google.com/dataflow/jobs?project={settings.project_id}"
                ),
            },
        },
        "raw_archive": {
            "kinds": {"googlecloud", "json"},
            "metadata": {"path": f"gs://{bucket}/raw/"} if bucket else {},
        },
        "dead_letter": {
            "kinds": {"googlecloud", "json"},
            "description": (
                "What was refused, with code, field, reason and payload; messages of the dead "
                "letter topic, or JSON Lines in the bucket of the archive."
            ),
            "metadata": {"path": f"gs://{bucket}/deadletter/"} if bucket else {},
        },
    }
    return _placed(ingest.assets(settings), place)


def stored_readings(settings: Settings, days: dg.DailyPartitionsDefinition) -> dg.AssetSpec:
    """`raw_meter_readings`: the table that the job fills, by UTC day of `event_ts`."""
    return dg.AssetSpec(
        RAW_TABLE,
        deps=["ingest_job"],
        group_name=LAKE_GROUP,
        kinds={"bigquery"},
        partitions_def=days,
        freshness_policy=AS_BIGQUERY_TELLS,
        description=(
            "All stored readings, one row per copy, duplicates possible; partitioned by UTC day of "
            "event_ts, clustered by pole and meter. Partitions are registered by the sensor "
            "`landed_days`."
        ),
        metadata={"table": _table(settings, RAW_TABLE)},
    )


def _table(settings: Settings, name: str) -> str:
    return f"{settings.project_id}.{settings.bigquery_dataset}.{name}"


def _placed(specs: list[dg.AssetSpec], place: _Places) -> list[dg.AssetSpec]:
    return [spec.replace_attributes(**place.get(spec.key.to_user_string(), {})) for spec in specs]
