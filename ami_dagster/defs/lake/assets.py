"""The lake's hours: landed readings (external) and their compaction."""

import dagster as dg

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, partition_key
from ami_dagster.freshness import EVERY_5_MINUTES, ON_ARRIVAL
from ami_dagster.partitions import stored_hours
from ami_dagster.resources import Lake
from ami_store.lake import Hour, compact_hour, compaction_connection, stored_files
from ami_store.quarantine import SetAside, quarantined, set_aside_damaged

GROUP = "lake"
WAREHOUSE_POOL = "warehouse"
_PROGRESS_EVERY = 200


def landed_readings(partitions: dg.HourlyPartitionsDefinition) -> dg.AssetSpec:
    """`raw_meter_readings`: what the ingest landed, by hour of `event_ts`."""
    return dg.AssetSpec(
        "raw_meter_readings",
        deps=["ingest_job"],
        group_name=GROUP,
        kinds={"parquet"},
        partitions_def=partitions,
        freshness_policy=ON_ARRIVAL,
        description=(
            "All stored readings, one row per copy, duplicates possible; Parquet by hour of "
            "event_ts. Partitions are registered by the sensor `landed_hours`."
        ),
    )


def hour_metadata(data: DataDir, hour: Hour) -> dict[str, dg.MetadataValue | int | str]:
    """Rows, bytes, files and span of a compacted hour."""
    manifest = hour.manifest
    return {
        "dagster/partition_row_count": manifest.rows,
        "bytes": sum(path.stat().st_size for path in stored_files(data, hour)),
        "copies_removed": manifest.copy_rows,
        "conflicting_copies": manifest.conflicts,
        "landed_files_merged": len(manifest.merged),
        "min_event_ts": manifest.min_event_ts,
        "max_event_ts": manifest.max_event_ts,
    }


WHOLE_CHECK = "landed_files_are_whole"


def compaction(partitions: dg.HourlyPartitionsDefinition) -> dg.AssetsDefinition:
    """`compacted_readings`: every hour sorted and deduplicated into one file."""

    @dg.asset(
        name="compacted_readings",
        deps=["raw_meter_readings"],
        group_name=GROUP,
        kinds={"parquet", "duckdb"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
        freshness_policy=EVERY_5_MINUTES,
        check_specs=[
            dg.AssetCheckSpec(
                WHOLE_CHECK,
                asset="compacted_readings",
                description=(
                    "No landed file is damaged. One that is goes to the quarantine, so that the "
                    "rest goes on; `ami replay` stores its readings again from the archive."
                ),
            )
        ],
        description=(
            "Stored readings, one row per (meter_id, seq, event_ts), sorted by meter and time: one "
            "Parquet file per hour, committed by replacing the hour's manifest."
        ),
    )
    def compacted_readings(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        window = context.partition_time_window
        stored = stored_hours(lake.data, window.start, window.end)
        starts = [hour.start for hour in stored if not hour.is_compacted]
        context.log.info("%d hours have landed files to merge", len(starts))
        for hour in stored:
            if hour.is_compacted:
                # Made anew as it was: its page would lose what it told.
                _tell(context, lake.data, hour)
        with compaction_connection() as con:
            for number, start in enumerate(starts, 1):
                try:
                    hour = compact_hour(lake.data, start, now=lake.now(), con=con)
                except LakeError:
                    moved = set_aside_damaged(lake.data, start, now=lake.now())
                    if not moved:
                        raise
                    for found in moved:
                        context.log.error("%s was set aside: %s", found.path, found.reason)
                    hour = compact_hour(lake.data, start, now=lake.now(), con=con)
                _tell(context, lake.data, hour)
                if number % _PROGRESS_EVERY == 0:
                    context.log.info("%d of %d hours", number, len(starts))
        return dg.MaterializeResult(check_results=[whole_files(list(quarantined(lake.data)))])

    return compacted_readings


def _tell(context: dg.AssetExecutionContext, data: DataDir, hour: Hour) -> None:
    context.add_asset_metadata(hour_metadata(data, hour), partition_key=partition_key(hour.start))


def whole_files(found: list[SetAside]) -> dg.AssetCheckResult:
    """Result of the check that nothing lies in the quarantine."""
    if not found:
        return dg.AssetCheckResult(check_name=WHOLE_CHECK, passed=True)
    readings = sum(each.rows for each in found)
    return dg.AssetCheckResult(
        check_name=WHOLE_CHECK,
        passed=False,
        description=(
            f"Damaged files were set aside: {len(found)} with {readings} readings, "
            f"{found[0].path} the first; `{found[0].remedy}` stores its readings again"
        ),
        metadata={
            "damaged_files": len(found),
            "readings_in_them": readings,
            "files": [f"{each.path} ({each.rows} readings): {each.reason}" for each in found],
            "to_do": sorted({each.remedy for each in found}),
        },
    )
