"""The landing sensor: reads the landing, gives partition events and runs for closed hours."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import dagster as dg

from ami_contract.lake import HOUR, floor_hour, partition_key
from ami_dagster.partitions import Stretch, pending_hours, stretches
from ami_dagster.resources import Lake
from ami_store.lake import Hour, hours

# Readings of an hour go on arriving for a while; until then the 5-minute schedule has it.
CLOSED_AFTER = timedelta(minutes=10)
DATA_VERSION_TAG = "dagster/data_version"
LANDED = dg.AssetKey("raw_meter_readings")
_MOST_EVENTS = 500


def registered_versions(instance: dg.DagsterInstance) -> dict[str, str]:
    """Data version last registered for every landed hour, by partition key."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        LANDED, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return {key: found.get(DATA_VERSION_TAG, "") for key, found in tags.items()}


def landed_events(found: Iterable[Hour], known: dict[str, str]) -> list[dg.AssetMaterialization]:
    """One event for every hour in which a file has landed since its registered version."""
    return [
        dg.AssetMaterialization(
            LANDED,
            partition=partition_key(hour.start),
            metadata={
                "dagster/partition_row_count": hour.stored_rows,
                "files_waiting": len(hour.pending),
            },
            tags={DATA_VERSION_TAG: hour.digest},
        )
        for hour in found
        if known.get(partition_key(hour.start)) != hour.digest
    ]


def closed_stretches(pending: Iterable[datetime], now: datetime) -> list[Stretch]:
    """Stretches of those pending hours that are closed at `now`."""
    return list(stretches(start for start in pending if start + HOUR + CLOSED_AFTER <= now))


def landed_hours_sensor(
    job_name: str, partitions: dg.HourlyPartitionsDefinition
) -> dg.SensorDefinition:
    """Registers landed hours as partitions and has late hours compacted and rebuilt."""

    @dg.sensor(
        job_name=job_name,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Registers every hour in which readings landed as a partition of raw_meter_readings; "
            "requests a refresh for closed hours with readings that came late."
        ),
    )
    def landed_hours(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        first = floor_hour(partitions.start)
        everything = list(hours(lake.data))
        found = [hour for hour in everything if hour.start >= first]
        if len(found) < len(everything):
            context.log.warning(
                "%d hours lie before %s, where the partitions start; reload the code location to "
                "include them",
                len(everything) - len(found),
                first.isoformat(),
            )
        digests = {hour.start: hour.digest for hour in found}
        pending = pending_hours(lake.data, since=first)
        return dg.SensorResult(
            asset_events=landed_events(found, registered_versions(context.instance))[:_MOST_EVENTS],
            run_requests=[
                dg.RunRequest(
                    run_key=f"{partition_key(stretch.first)}:{digests[stretch.last]}",
                    tags={**stretch.tags, "ami/reason": "late readings"},
                )
                for stretch in closed_stretches(pending, lake.now())
            ],
        )

    return landed_hours
