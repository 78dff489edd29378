"""Partitions: reads the lake's hours, gives partitions, stretches of them and what is pending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg

from ami_contract.errors import LakeError
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_of_key, partition_key
from ami_store.lake import Hour, hours, oldest_hour
from ami_store.registry import read_registry
from ami_store.warehouse import built_versions, published_listing

DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)
_RANGE_START: Final = "dagster/asset_partition_range_start"
_RANGE_END: Final = "dagster/asset_partition_range_end"


def hourly_partitions(data: DataDir, now: datetime) -> dg.HourlyPartitionsDefinition:
    """Hours from the lake's oldest to the open one; from the hour before `now` for an empty lake.

    The start is read when definitions load: after older readings have been imported, reload the
    code location.
    """
    start = oldest_hour(data) or floor_hour(now) - HOUR
    return dg.HourlyPartitionsDefinition(start_date=start.astimezone(UTC), end_offset=1)


def daily_partitions(data: DataDir, now: datetime) -> dg.DailyPartitionsDefinition:
    """Local dates from that of the lake's oldest hour to today's (UTC)."""
    start = oldest_day(data) or local_days([floor_hour(now) - HOUR], zones(data))[0]
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), end_offset=1)


def oldest_day(data: DataDir) -> date | None:
    """Local date of the lake's oldest hour, the earliest of all sites'; None for an empty lake."""
    start = oldest_hour(data)
    return local_days([start], zones(data))[0] if start else None


def zones(data: DataDir) -> list[ZoneInfo]:
    """Time zones of the registry's sites, UTC too (sites without one)."""
    try:
        names = set(read_registry(data.registry)["time_zone"].to_pylist())
    except LakeError:
        # The UI must come up; the build says what is wrong with the registry.
        names = set()
    return [ZoneInfo(name) for name in sorted((names - {None}) | {"UTC"})]


def local_days(starts: Iterable[datetime], sites: Iterable[ZoneInfo]) -> list[date]:
    """Local dates that the hours touch in any of the zones, ascending."""
    sites = list(sites)
    ends = [moment for start in starts for moment in (start, start + HOUR - timedelta.resolution)]
    return sorted({moment.astimezone(zone).date() for moment in ends for zone in sites})


def ended_week(now: datetime, sites: Iterable[ZoneInfo]) -> tuple[date, datetime]:
    """The newest week, Monday to Sunday, that has ended in all of the zones.

    Returns its first day and the moment (UTC) at which it had ended everywhere.
    """
    sites = list(sites)
    today = now.astimezone(UTC).date()
    monday = today - today.weekday() * DAY

    def begun(first: date) -> datetime:
        return max(datetime.combine(first, time(), zone).astimezone(UTC) for zone in sites)

    if begun(monday) > now:
        monday -= WEEK
    return monday - WEEK, begun(monday)


@dataclass(frozen=True)
class Stretch:
    """Consecutive hours, both ends included."""

    first: datetime
    last: datetime

    @property
    def tags(self) -> dict[str, str]:
        """Tags that make a run cover the stretch."""
        return {_RANGE_START: partition_key(self.first), _RANGE_END: partition_key(self.last)}

    @property
    def hours(self) -> list[datetime]:
        """Starts of its hours."""
        count = (self.last - self.first) // HOUR + 1
        return [self.first + number * HOUR for number in range(count)]

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Stretch | None:
        """The hours or whole days that a run with these tags covers; None when they name none."""
        first = tags.get(_RANGE_START) or tags.get("dagster/partition")
        last = tags.get(_RANGE_END) or tags.get("dagster/partition")
        if not first or not last:
            return None
        if ":" in first:
            return cls(hour_of_key(first), hour_of_key(last))
        days = [datetime.fromisoformat(key).replace(tzinfo=UTC) for key in (first, last)]
        return cls(days[0], days[1] + DAY - HOUR)


def day_tags(first: date, last: date) -> dict[str, str]:
    """Tags that make a run cover the days from `first` to `last`."""
    return {_RANGE_START: first.isoformat(), _RANGE_END: last.isoformat()}


def stretches(starts: Iterable[datetime]) -> Iterator[Stretch]:
    """Group ascending hours into runs without a hole."""
    first = last = None
    for start in starts:
        if first is None or last is None:
            first = last = start
        elif start == last + HOUR:
            last = start
        else:
            yield Stretch(first, last)
            first = last = start
    if first is not None and last is not None:
        yield Stretch(first, last)


def pending_hours(
    data: DataDir, since: datetime | None = None, until: datetime | None = None
) -> list[datetime]:
    """Hours that the published warehouse does not show in full, ascending, within [since, until).

    Such an hour has landed files that are not compacted, or the last complete build of the
    published models did not see it as it is now; so a run killed anywhere is made up for.
    """
    built = built_versions(data)
    return [
        hour.start
        for hour in _within(data, since, until)
        if not hour.is_compacted or hour.version != built.get(hour.start)
    ]


def unseen_hours(data: DataDir, until: datetime) -> list[datetime]:
    """Hours before `until` that no complete build has seen since they ended, ascending.

    Unlike pending hours they do not include those that get single late readings again and again.
    """
    built = built_versions(data)
    return [hour.start for hour in _within(data, None, until) if not _is_seen(hour, built)]


def _is_seen(hour: Hour, built: Mapping[datetime, str]) -> bool:
    if hour.version != built.get(hour.start):
        return False
    committed_at = hour.manifest.committed_at
    return hour.is_compacted or (
        bool(committed_at) and datetime.fromisoformat(committed_at) >= hour.start + HOUR
    )


def stored_hours(data: DataDir, since: datetime, until: datetime) -> list[Hour]:
    """Hours within [since, until) that the lake holds, ascending."""
    return list(_within(data, since, until))


def news(data: DataDir, hour: datetime) -> bool:
    """Whether an hour has readings that no publication, complete or of events alone, has seen."""
    listed_at = published_listing(data)
    return any(
        not found.is_compacted
        or listed_at is None
        or datetime.fromisoformat(found.manifest.committed_at) >= listed_at
        for found in _within(data, hour, hour + HOUR)
    )


def _within(data: DataDir, since: datetime | None, until: datetime | None) -> Iterator[Hour]:
    for hour in hours(data):
        if (since is None or hour.start + HOUR > since) and (until is None or hour.start < until):
            yield hour
