"""Hour partitions: reads the lake's hours, gives partitions, stretches and what is pending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from ami_contract.lake import HOUR, DataDir, floor_hour, partition_key
from ami_store.lake import Manifest, hours, oldest_hour
from ami_store.warehouse import published_listing


def hourly_partitions(data: DataDir, now: datetime) -> dg.HourlyPartitionsDefinition:
    """Hours from the lake's oldest to the open one; from the hour before `now` for an empty lake.

    The start is read when definitions load: after older readings have been imported, reload the
    code location.
    """
    start = oldest_hour(data) or floor_hour(now) - HOUR
    return dg.HourlyPartitionsDefinition(start_date=start.astimezone(UTC), end_offset=1)


@dataclass(frozen=True)
class Stretch:
    """Consecutive hours, both ends included."""

    first: datetime
    last: datetime

    @property
    def tags(self) -> dict[str, str]:
        """Tags that make a run cover the stretch."""
        return {
            "dagster/asset_partition_range_start": partition_key(self.first),
            "dagster/asset_partition_range_end": partition_key(self.last),
        }


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

    Such an hour has landed files that are not compacted, or was compacted after the lake was
    listed for the published snapshot (so a run killed between the two is made up for).
    """
    listed_at = published_listing(data)
    return [
        hour.start
        for hour in hours(data)
        if (since is None or hour.start + HOUR > since)
        and (until is None or hour.start < until)
        and (not hour.is_compacted or not _is_published(hour.manifest, listed_at))
    ]


def _is_published(manifest: Manifest, listed_at: datetime | None) -> bool:
    return listed_at is not None and datetime.fromisoformat(manifest.committed_at) < listed_at
