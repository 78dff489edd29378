"""The landing sensor: reads the landing, gives partition events and runs for closed hours."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from ami_contract.lake import HOUR, floor_hour, partition_key
from ami_dagster.jobs import REASON_TAG, REFRESH_HOURS, unfinished_run
from ami_dagster.partitions import Stretch, stretches
from ami_dagster.resources import Lake
from ami_store.lake import Hour, hours

# Until then the schedules have the hour.
LATE_AFTER: Final = timedelta(minutes=12)
# Some readings of a large fleet are always late; each refresh takes in what came meanwhile.
LATE_EVERY: Final = timedelta(minutes=10)
DATA_VERSION_TAG: Final = "dagster/data_version"
LANDED: Final = dg.AssetKey("raw_meter_readings")
_MOST_EVENTS: Final = 500


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


def late_stretches(found: Iterable[Hour], now: datetime) -> list[Stretch]:
    """Stretches of hours that were closed at `now` and have readings that are not compacted."""
    return list(
        stretches(
            hour.start
            for hour in found
            if not hour.is_compacted and hour.start + HOUR + LATE_AFTER <= now
        )
    )


def landed_hours_sensor(partitions: dg.HourlyPartitionsDefinition) -> dg.SensorDefinition:
    """Registers landed hours as partitions and has late hours compacted and refreshed."""

    @dg.sensor(
        job_name=REFRESH_HOURS,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Registers every hour in which readings landed as a partition of raw_meter_readings; "
            f"requests {REFRESH_HOURS} for closed hours with readings that came late, at most "
            f"every {LATE_EVERY.seconds // 60} minutes."
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
        events = landed_events(found, registered_versions(context.instance))[:_MOST_EVENTS]
        now = lake.now()
        late = late_stretches(found, now)
        asked_at = datetime.fromisoformat(context.cursor) if context.cursor else None
        if (
            not late
            or (asked_at and now < asked_at + LATE_EVERY)
            or unfinished_run(context.instance, REFRESH_HOURS)
        ):
            return dg.SensorResult(asset_events=events)
        return dg.SensorResult(
            asset_events=events,
            run_requests=[
                dg.RunRequest(
                    run_key=f"{partition_key(stretch.first)} {now.isoformat()}",
                    tags={**stretch.tags, REASON_TAG: "late readings"},
                )
                for stretch in late
            ],
            cursor=now.isoformat(),
        )

    return landed_hours
