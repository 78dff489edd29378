"""The landing sensor registers what landed and asks for late hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
import pytest
from support import HOUR, stored_rows

from ami_contract.lake import DataDir, partition_key
from ami_dagster.defs.lake.sensors import landed_hours_sensor
from ami_dagster.partitions import hourly_partitions
from ami_dagster.resources import Lake
from ami_store.lake import land


class ClockedLake(Lake):
    """A lake whose clock stands still."""

    at: str = HOUR.isoformat()

    def now(self) -> datetime:
        """The time it was told."""
        return datetime.fromisoformat(self.at)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def evaluate(data: DataDir, instance: dg.DagsterInstance, now: datetime) -> dg.SensorResult:
    sensor = landed_hours_sensor("refresh_warehouse", hourly_partitions(data, now))
    context = dg.build_sensor_context(
        instance=instance,
        resources={"lake": ClockedLake(data_dir=str(data.root), at=now.isoformat())},
    )
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


def test_the_open_hour_is_left_to_the_schedule(data: DataDir, instance: dg.DagsterInstance) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    assert not evaluate(data, instance, HOUR + timedelta(minutes=65)).run_requests


def test_a_closed_hour_with_unmerged_files_is_refreshed_and_asked_for_once(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    later = HOUR + timedelta(minutes=75)
    requests = evaluate(data, instance, later).run_requests or []
    assert [request.tags["dagster/asset_partition_range_start"] for request in requests] == [
        partition_key(HOUR)
    ]
    again = evaluate(data, instance, later).run_requests or []
    # The same run key: Dagster launches it once.
    assert again[0].run_key == requests[0].run_key
    land(data, HOUR, "b", stored_rows(HOUR, [240.0]))
    later_still = evaluate(data, instance, later).run_requests or []
    assert later_still[0].run_key != requests[0].run_key
