"""The landing sensor registers what landed and asks for late hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
import pytest
from sensor_stage import ClockedLake
from support import HOUR, stored_rows

from ami_contract.lake import DataDir, partition_key
from ami_dagster.defs.lake.sensors import landed_hours_sensor
from ami_dagster.partitions import hourly_partitions
from ami_store.lake import land


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def evaluate(
    data: DataDir, instance: dg.DagsterInstance, now: datetime, cursor: str | None = None
) -> dg.SensorResult:
    sensor = landed_hours_sensor(hourly_partitions(data, now))
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        resources={"lake": ClockedLake(data_dir=str(data.root), at=now.isoformat())},
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        instance.report_runless_asset_event(event)  # type: ignore[arg-type]
    return result


def partitions(result: dg.SensorResult) -> list[str | None]:
    return [event.partition for event in result.asset_events]


def test_a_landed_hour_is_registered_once_with_its_row_count(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0] * 3))
    now = HOUR + timedelta(minutes=5)
    first = evaluate(data, instance, now)
    assert partitions(first) == [partition_key(HOUR)]
    assert first.asset_events[0].metadata["dagster/partition_row_count"].value == 3
    assert partitions(evaluate(data, instance, now)) == []


def test_a_further_file_registers_its_hour_again(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    now = HOUR + timedelta(minutes=5)
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    evaluate(data, instance, now)
    land(data, HOUR, "b", stored_rows(HOUR, [240.0]))
    assert partitions(evaluate(data, instance, now)) == [partition_key(HOUR)]


def test_an_hour_that_is_open_or_just_closed_is_left_to_the_schedules(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    for minutes in (30, 65, 71):
        assert not evaluate(data, instance, HOUR + timedelta(minutes=minutes)).run_requests


def test_late_readings_of_a_closed_hour_have_exactly_that_hour_refreshed(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    land(data, HOUR + timedelta(hours=5), "a", stored_rows(HOUR + timedelta(hours=5), [240.0]))
    result = evaluate(data, instance, HOUR + timedelta(hours=5, minutes=20))
    [request] = result.run_requests or []
    assert request.tags["dagster/asset_partition_range_start"] == partition_key(HOUR)
    assert request.tags["dagster/asset_partition_range_end"] == partition_key(HOUR)
    assert request.tags["ami/reason"] == "late readings"


def test_late_readings_are_refreshed_at_most_every_ten_minutes(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    now = HOUR + timedelta(minutes=75)
    first = evaluate(data, instance, now)
    assert first.run_requests
    soon = evaluate(data, instance, now + timedelta(minutes=9), first.cursor)
    assert not soon.run_requests
    # An evaluation that asks for nothing keeps the time of the last request.
    assert soon.cursor in (None, first.cursor)
    assert evaluate(data, instance, now + timedelta(minutes=10), first.cursor).run_requests


def test_late_readings_wait_for_the_refresh_that_runs(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))

    @dg.job(name="refresh_hours")
    def job() -> None:
        pass

    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert not evaluate(data, instance, HOUR + timedelta(minutes=75)).run_requests
