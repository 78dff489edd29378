"""The 5-minute schedule: which hour a tick works on, and when it does nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from support import HOUR, stored_rows

from ami_contract.lake import DataDir, partition_key
from ami_dagster.defs.analytics.schedules import hour_of_tick, refresh_schedule
from ami_dagster.resources import Lake
from ami_store.lake import land


@pytest.mark.parametrize(
    ("tick", "hour"),
    [
        (HOUR + timedelta(minutes=5), HOUR),
        (HOUR + timedelta(minutes=55), HOUR),
        (HOUR + timedelta(minutes=60), HOUR),
        (HOUR + timedelta(minutes=65), HOUR + timedelta(hours=1)),
        (datetime(2026, 3, 1, 0, 0, tzinfo=UTC), datetime(2026, 2, 28, 23, tzinfo=UTC)),
    ],
)
def test_a_tick_works_on_the_hour_of_five_minutes_before(tick: datetime, hour: datetime) -> None:
    assert hour_of_tick(tick) == hour


def tick(data: DataDir, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=HOUR + timedelta(minutes=20),
        resources={"lake": Lake(data_dir=str(data.root))},
    )
    result = refresh_schedule("refresh_warehouse")(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def test_a_tick_refreshes_the_open_hour_when_something_landed(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    with dg.instance_for_test() as instance:
        result = tick(data, instance)
    assert isinstance(result, dg.RunRequest)
    assert result.tags["dagster/asset_partition_range_end"] == partition_key(HOUR)


def test_a_tick_without_new_readings_is_skipped(data: DataDir) -> None:
    with dg.instance_for_test() as instance:
        assert isinstance(tick(data, instance), dg.SkipReason)


def test_a_tick_is_skipped_while_the_one_before_still_runs(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))

    @dg.job(name="refresh_warehouse")
    def job() -> None:
        pass

    with dg.instance_for_test() as instance:
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        result = tick(data, instance)
    assert isinstance(result, dg.SkipReason)
    assert "still refreshing" in (result.skip_message or "")
