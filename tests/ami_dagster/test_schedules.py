"""Schedules with a clock of their own: what a tick asks for, and when it asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import duckdb
import pytest
from sensor_stage import ClockedLake
from support import HOUR, stored_rows

from ami_contract.lake import DataDir
from ami_dagster.defs.analytics.schedules import hour_of_tick, schedules
from ami_store.lake import compact_hour, compaction_connection, land
from ami_store.lake import hours as hours_of

ONE_HOUR = timedelta(hours=1)
SCHEDULES = {schedule.name: schedule for schedule in schedules()}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def tick(
    name: str,
    at: datetime,
    data: DataDir,
    instance: dg.DagsterInstance,
    now: datetime | None = None,
) -> list[dg.RunRequest] | str:
    """What the tick of `at` asks for when it is evaluated at `now`; the reason when it skips."""
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        resources={"lake": ClockedLake(data_dir=str(data.root), at=(now or at).isoformat())},
    ) as context:
        result = SCHEDULES[name](context)
    if isinstance(result, dg.SkipReason):
        return result.skip_message or ""
    return [result] if isinstance(result, dg.RunRequest) else list(result)


def publish_a_build(data: DataDir, listed_at: str = "2026-03-01 13:00Z") -> None:
    """A published warehouse whose last complete build saw the lake as it is, and an older hour."""
    data.published_warehouse.parent.mkdir(parents=True, exist_ok=True)
    data.published_warehouse.unlink(missing_ok=True)
    seen = [[hour.start, hour.version] for hour in hours_of(data)]
    with duckdb.connect(str(data.published_warehouse)) as con:
        con.execute("CREATE SCHEMA state")
        con.execute("CREATE SCHEMA lake")
        con.execute("CREATE TABLE state.windows (window_ts TIMESTAMPTZ, version VARCHAR)")
        rows = [["2026-03-01 13:00Z", "v"], *seen]
        con.executemany("INSERT INTO state.windows VALUES (?, ?)", rows)
        con.execute(f"CREATE TABLE lake.listing AS SELECT TIMESTAMPTZ '{listed_at}' AS listed_at")


def spans(requests: list[dg.RunRequest] | str) -> list[tuple[str, str]]:
    assert isinstance(requests, list), requests
    return [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    ]


def test_schedules_take_the_place_of_scheduled_queries() -> None:
    assert {
        name: (schedule.job_name, schedule.cron_schedule, schedule.default_status)
        for name, schedule in SCHEDULES.items()
    } == {
        "sags_every_5_minutes": ("detect_sags", "*/5 * * * *", dg.DefaultScheduleStatus.RUNNING),
        "hours_hourly": ("refresh_hours", "8 * * * *", dg.DefaultScheduleStatus.RUNNING),
        "days_daily": ("refresh_days", "40 0 * * *", dg.DefaultScheduleStatus.RUNNING),
        "weeks_weekly": ("refresh_weeks", "20 * * * *", dg.DefaultScheduleStatus.RUNNING),
    }


@pytest.mark.parametrize(
    ("tick", "hour"),
    [
        (HOUR + timedelta(minutes=5), HOUR),
        (HOUR + timedelta(minutes=55), HOUR),
        (HOUR + timedelta(minutes=60), HOUR),
        (HOUR + timedelta(minutes=65), HOUR + ONE_HOUR),
        (datetime(2026, 3, 1, 0, 0, tzinfo=UTC), datetime(2026, 2, 28, 23, tzinfo=UTC)),
    ],
)
def test_a_5_minute_tick_works_on_the_hour_of_five_minutes_before(
    tick: datetime, hour: datetime
) -> None:
    assert hour_of_tick(tick) == hour


def test_a_5_minute_tick_looks_for_sags_when_something_landed(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    at = HOUR + timedelta(minutes=20)
    assert "nothing new has landed" in tick("sags_every_5_minutes", at, data, instance)
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    assert spans(tick("sags_every_5_minutes", at, data, instance)) == [
        ("2026-03-01-14:00", "2026-03-01-14:00")
    ]


def test_the_hourly_tick_asks_for_every_closed_hour_that_is_not_built(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    for hours in (0, 1, 2, 5, 6):
        start = HOUR + hours * ONE_HOUR
        land(data, start, "a", stored_rows(start, [240.0]))
    # 20:08: the hour from 19:00 is closed, that from 20:00 (hours = 6) is open.
    requests = tick("hours_hourly", HOUR + timedelta(hours=6, minutes=8), data, instance)
    assert spans(requests) == [
        ("2026-03-01-14:00", "2026-03-01-16:00"),
        ("2026-03-01-19:00", "2026-03-01-19:00"),
    ]


def test_an_hourly_tick_that_is_made_up_for_takes_in_what_has_closed_since(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    for hours in range(4):
        start = HOUR + hours * ONE_HOUR
        land(data, start, "a", stored_rows(start, [240.0]))
    # The tick of 15:08, evaluated at 17:10: the hour from 17:00 (hours = 3) is open.
    missed = HOUR + timedelta(minutes=68)
    requests = tick("hours_hourly", missed, data, instance, HOUR + timedelta(hours=3, minutes=10))
    assert spans(requests) == [("2026-03-01-14:00", "2026-03-01-16:00")]


def test_the_hourly_tick_is_skipped_when_everything_is_built(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    # At 14:08 the hour is still open.
    skipped = tick("hours_hourly", HOUR + timedelta(minutes=8), data, instance)
    assert skipped == "every closed hour is in the published warehouse"


def test_the_daily_tick_makes_the_two_days_before_within_the_lake(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    midnight = datetime(2026, 3, 2, 0, 40, tzinfo=UTC)
    assert tick("days_daily", midnight, data, instance) == "no hour has been built yet"
    publish_a_build(data)
    assert "no day has ended" in tick("days_daily", midnight, data, instance)
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    assert spans(tick("days_daily", midnight, data, instance)) == [("2026-03-01", "2026-03-01")]
    assert spans(tick("days_daily", midnight + timedelta(days=2), data, instance)) == [
        ("2026-03-02", "2026-03-03")
    ]


def compact(data: DataDir, start: datetime, now: datetime) -> None:
    with compaction_connection() as con:
        compact_hour(data, start, now=now, con=con)


# The Monday after; the last hour of the week begins an hour before.
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
LAST_HOUR = MONDAY - ONE_HOUR


def week_tick(at: datetime, data: DataDir, instance: dg.DagsterInstance) -> object:
    """First day of the week that the tick asks for, the reason when it skips."""
    asked = tick("weeks_weekly", at, data, instance)
    return asked if isinstance(asked, str) else [request.tags["ami/week"] for request in asked]


def test_a_week_waits_until_its_last_hour_is_built_whole(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    at = MONDAY + timedelta(minutes=20)
    assert week_tick(at, data, instance) == "no hour has been built yet"
    land(data, LAST_HOUR, "a", stored_rows(LAST_HOUR, [240.0]))
    compact(data, LAST_HOUR, MONDAY - timedelta(minutes=55))
    publish_a_build(data, "2026-03-01 23:05Z")
    # What the hour has got since has not landed yet; nobody has looked at the lake.
    assert week_tick(at, data, instance) == (
        "nothing has been built since the week of 2026-02-23 ended"
    )
    land(data, LAST_HOUR, "b", stored_rows(LAST_HOUR + timedelta(minutes=30), [240.0]))
    # The events of the open hour alone were published since.
    publish_a_build(data, "2026-03-02 00:15Z")
    assert week_tick(at, data, instance) == (
        "1 hours before the end of the week of 2026-02-23 are not built yet, 2026-03-01 23:00Z the "
        "first"
    )
    compact(data, LAST_HOUR, MONDAY + timedelta(minutes=9))
    publish_a_build(data, "2026-03-02 00:09Z")
    assert week_tick(at, data, instance) == ["2026-02-23"]


def test_single_late_readings_do_not_hold_up_a_week(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, LAST_HOUR, "a", stored_rows(LAST_HOUR, [240.0]))
    compact(data, LAST_HOUR, MONDAY)
    publish_a_build(data, "2026-03-02 00:09Z")
    land(data, LAST_HOUR, "late", stored_rows(LAST_HOUR + timedelta(minutes=1), [240.0]))
    assert week_tick(MONDAY + timedelta(minutes=20), data, instance) == ["2026-02-23"]


def test_a_week_is_made_once_whenever_its_run_succeeds(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, LAST_HOUR, "a", stored_rows(LAST_HOUR, [240.0]))
    compact(data, LAST_HOUR, MONDAY)
    publish_a_build(data, "2026-03-02 00:09Z")
    assert "no week has ended" in str(week_tick(LAST_HOUR, data, instance))

    @dg.job(name="refresh_weeks")
    def job() -> None:
        pass

    at, tags = MONDAY + timedelta(minutes=20), {"ami/week": "2026-02-23"}
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags=tags)
    assert week_tick(at + ONE_HOUR, data, instance) == ["2026-02-23"]
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags=tags)
    assert week_tick(at + 2 * ONE_HOUR, data, instance) == "the week of 2026-02-23 is made"
    publish_a_build(data, "2026-03-09 00:09Z")
    assert week_tick(at + timedelta(days=7), data, instance) == ["2026-03-02"]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_tick_is_skipped_while_the_run_before_has_not_ended(
    name: str, data: DataDir, instance: dg.DagsterInstance
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    at = datetime(2026, 3, 2, 1, 20, tzinfo=UTC)
    if name in ("days_daily", "weeks_weekly"):
        compact(data, HOUR, HOUR + ONE_HOUR)
        publish_a_build(data, "2026-03-02 00:09Z")
    if name == "sags_every_5_minutes":
        at = HOUR + timedelta(minutes=20)
    assert isinstance(tick(name, at, data, instance), list)

    @dg.job(name=SCHEDULES[name].job_name)
    def job() -> None:
        pass

    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED):
        run = instance.create_run_for_job(job, status=status)
        assert "has not ended" in tick(name, at, data, instance)
        instance.delete_run(run.run_id)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(name, at, data, instance), list)
