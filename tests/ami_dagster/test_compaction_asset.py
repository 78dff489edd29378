"""The compaction asset: damaged files go aside, the rest goes on, the check says what to do."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
from support import HOUR, stored_rows

from ami_contract.lake import DataDir
from ami_dagster.defs.lake.assets import compaction, landed_readings
from ami_dagster.partitions import Stretch, hourly_partitions
from ami_dagster.resources import Lake
from ami_store.lake import land, read_hour
from ami_store.quarantine import quarantined

ONE_HOUR = timedelta(hours=1)


def compact(data: DataDir, stretch: Stretch) -> dg.ExecuteInProcessResult:
    partitions = hourly_partitions(data, HOUR + 3 * ONE_HOUR)
    definitions = dg.Definitions(
        assets=[landed_readings(partitions), compaction(partitions)],
        resources={"lake": Lake(data_dir=str(data.root))},
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, tags=stretch.tags, raise_on_error=False)


def row_counts(result: dg.ExecuteInProcessResult) -> dict[str | None, object]:
    """Rows that the materialization of each partition tells."""
    return {
        event.partition: event.step_materialization_data.materialization.metadata[
            "dagster/partition_row_count"
        ].value
        for event in result.get_asset_materialization_events()
    }


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [check] = result.get_asset_check_evaluations()
    return check


def test_the_hours_of_a_run_are_compacted_and_no_others(data: DataDir) -> None:
    for number in range(3):
        start = HOUR + number * ONE_HOUR
        land(data, start, "a", stored_rows(start, [240.0] * (number + 1)))
    result = compact(data, Stretch(HOUR, HOUR + ONE_HOUR))
    assert result.success
    compacted = [read_hour(data, HOUR + n * ONE_HOUR).is_compacted for n in range(3)]
    assert compacted == [True, True, False]
    assert row_counts(result) == {"2026-03-01-14:00": 1, "2026-03-01-15:00": 2}
    assert check_of(result).passed


def test_an_hour_without_anything_new_still_tells_its_rows(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0] * 3))
    compact(data, Stretch(HOUR, HOUR))
    land(data, HOUR + ONE_HOUR, "a", stored_rows(HOUR + ONE_HOUR, [240.0]))
    again = compact(data, Stretch(HOUR, HOUR + ONE_HOUR))
    assert row_counts(again) == {"2026-03-01-14:00": 3, "2026-03-01-15:00": 1}


def test_a_damaged_landed_file_goes_aside_and_all_hours_are_compacted(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0] * 2))
    land(data, HOUR, "b", stored_rows(HOUR, [230.0], meter_id="m2")).write_bytes(b"no parquet")
    land(data, HOUR + ONE_HOUR, "a", stored_rows(HOUR + ONE_HOUR, [240.0]))
    result = compact(data, Stretch(HOUR, HOUR + ONE_HOUR))
    assert result.success
    assert [read_hour(data, HOUR + n * ONE_HOUR).manifest.rows for n in range(2)] == [2, 1]
    assert [(found.hour, found.rows) for found in quarantined(data)] == [(HOUR, 1)]
    check = check_of(result)
    assert not check.passed
    counts = [check.metadata[name].value for name in ("damaged_files", "readings_in_them")]
    assert counts == [1, 1]
    assert check.metadata["to_do"].value == [
        "ami replay --from 2026-03-01T14:00 --to 2026-03-01T15:00"
    ]
    # It stays failed until a replay has cleared the quarantine.
    assert not check_of(compact(data, Stretch(HOUR, HOUR))).passed


def test_a_damaged_committed_file_fails_the_run_and_is_named(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    compact(data, Stretch(HOUR, HOUR))
    [readings] = data.readings.rglob("readings-*.parquet")
    readings.write_bytes(b"no parquet")
    land(data, HOUR, "b", stored_rows(HOUR, [241.0], meter_id="m2"))
    result = compact(data, Stretch(HOUR, HOUR))
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert readings.name in str(failed.step_failure_data.error)
    assert not list(quarantined(data))
