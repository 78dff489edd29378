"""Stretches and pending hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from support import HOUR, stored_rows

from ami_contract.lake import DataDir
from ami_dagster.partitions import (
    Stretch,
    daily_partitions,
    ended_week,
    hourly_partitions,
    local_days,
    pending_hours,
    stretches,
)
from ami_store.lake import compact_hour, compaction_connection, land

ONE_HOUR = timedelta(hours=1)


def test_consecutive_hours_are_one_stretch_and_a_hole_begins_another() -> None:
    hours = [HOUR, HOUR + ONE_HOUR, HOUR + 4 * ONE_HOUR]
    assert list(stretches(hours)) == [
        Stretch(HOUR, HOUR + ONE_HOUR),
        Stretch(HOUR + 4 * ONE_HOUR, HOUR + 4 * ONE_HOUR),
    ]
    assert list(stretches([])) == []


def test_partitions_start_at_the_oldest_landed_hour_and_include_the_open_one(
    data: DataDir,
) -> None:
    land(data, HOUR, "s", stored_rows(HOUR, [240.0]))
    now = HOUR + timedelta(hours=2, minutes=10)
    keys = hourly_partitions(data, now).get_partition_keys(current_time=now)
    assert keys == ["2026-03-01-14:00", "2026-03-01-15:00", "2026-03-01-16:00"]


def test_an_empty_lake_has_the_hour_before_now(data: DataDir) -> None:
    now = datetime(2026, 3, 1, 14, 30, tzinfo=UTC)
    keys = hourly_partitions(data, now).get_partition_keys(current_time=now)
    assert keys == ["2026-03-01-13:00", "2026-03-01-14:00"]


def test_an_hour_is_pending_until_it_is_compacted_and_published(data: DataDir) -> None:
    land(data, HOUR, "s", stored_rows(HOUR, [240.0]))
    assert pending_hours(data) == [HOUR]
    with compaction_connection() as con:
        compact_hour(data, HOUR, now=HOUR, con=con)
    # Compacted, but no published warehouse shows it yet.
    assert pending_hours(data) == [HOUR]
    assert pending_hours(data, since=HOUR + ONE_HOUR) == []
    assert pending_hours(data, until=HOUR) == []


def test_an_hour_touches_the_local_dates_of_all_sites() -> None:
    chicago, kathmandu = ZoneInfo("America/Chicago"), ZoneInfo("Asia/Kathmandu")
    assert local_days([datetime(2026, 3, 2, 3, tzinfo=UTC)], [chicago]) == [date(2026, 3, 1)]
    # 18:15Z is midnight in Kathmandu.
    assert local_days([datetime(2026, 3, 1, 18, tzinfo=UTC)], [chicago, kathmandu]) == [
        date(2026, 3, 1),
        date(2026, 3, 2),
    ]


def test_days_start_at_the_local_date_of_the_oldest_hour(data: DataDir) -> None:
    data.registry.parent.mkdir(parents=True)
    data.registry.write_text(
        "meter_id,pole_id,transformer_id,feeder_id,nominal_voltage_v,sample_interval_ms,"
        "rated_kva,latitude,longitude,time_zone,valid_from,valid_to\n"
        "m1,p1,t1,f1,240,1000,25,0,0,Pacific/Honolulu,2026-01-01T00:00:00Z,\n"
    )
    start = datetime(2026, 3, 1, 9, tzinfo=UTC)
    land(data, start, "s", stored_rows(start, [240.0]))
    now = start + ONE_HOUR
    keys = daily_partitions(data, now).get_partition_keys(current_time=now)
    assert keys == ["2026-02-28", "2026-03-01"]


def test_a_stretch_is_read_back_from_the_tags_of_a_run() -> None:
    stretch = Stretch(HOUR, HOUR + 2 * ONE_HOUR)
    assert Stretch.of_tags(stretch.tags) == stretch
    assert stretch.hours == [HOUR, HOUR + ONE_HOUR, HOUR + 2 * ONE_HOUR]
    assert Stretch.of_tags({"dagster/partition": "2026-03-01-14:00"}) == Stretch(HOUR, HOUR)
    days = {"dagster/asset_partition_range_start": "2026-03-01"}
    days["dagster/asset_partition_range_end"] = "2026-03-02"
    assert Stretch.of_tags(days) == Stretch(
        datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, 23, tzinfo=UTC)
    )
    assert Stretch.of_tags({}) is None


def test_a_week_has_ended_when_it_has_at_every_site() -> None:
    utc, chicago = ZoneInfo("UTC"), ZoneInfo("America/Chicago")
    # Monday, 2 March; Chicago is six hours behind UTC.
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    week_before = (date(2026, 2, 16), datetime(2026, 2, 23, 6, tzinfo=UTC))
    week = (date(2026, 2, 23), datetime(2026, 3, 2, 6, tzinfo=UTC))
    assert ended_week(monday, [utc]) == (date(2026, 2, 23), monday)
    assert ended_week(monday + 5 * ONE_HOUR, [utc, chicago]) == week_before
    assert ended_week(monday + 6 * ONE_HOUR, [utc, chicago]) == week
    assert ended_week(monday + 167 * ONE_HOUR, [utc, chicago]) == week
