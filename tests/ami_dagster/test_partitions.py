"""Stretches and pending hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from support import HOUR, stored_rows

from ami_contract.lake import DataDir
from ami_dagster.partitions import Stretch, hourly_partitions, pending_hours, stretches
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
