"""How new the lake is: reads its newest hours, gives what was heard last and what still waits."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder
from ami_contract.reading import MAX_EVENT_LEAD
from ami_store.lake import Hour, hours, read_hour
from ami_store.sql import file_list, memory_connection
from ami_store.warehouse import built_versions

_US = 1_000_000


@dataclass(frozen=True)
class Heard:
    """The newest reading of a meter.

    Attributes:
        pole_id: the pole it named.
        event_ts: its time.
    """

    pole_id: str
    event_ts: datetime


@dataclass(frozen=True)
class Newest:
    """What was heard last.

    Attributes:
        meters: newest reading of each meter, by `meter_id`.
        damaged: files that cannot be read; the others are in `meters`.
    """

    meters: dict[str, Heard]
    damaged: list[Path] = field(default_factory=list)


def newest_readings(
    data: DataDir, since: datetime, now: datetime, expected: Set[str] = frozenset()
) -> Newest:
    """Newest reading of each meter, from the hour of `since` on.

    Hours are read from the newest on until all `expected` meters are found, so that with a fleet
    that speaks one or two hours are read; without any expected meter all hours are.

    Raises:
        LakeError: a manifest is damaged.
    """
    found: dict[str, Heard] = {}
    damaged: list[Path] = []
    start = floor_hour(now + MAX_EVENT_LEAD)
    with memory_connection(threads=1, memory_limit="512MB") as con:
        while start >= floor_hour(since):
            hour = read_hour(data, start)
            folder = data.readings / hour_folder(start)
            files = [folder / name for name in hour.manifest.readings] + hour.pending
            for meter_id, heard in _read(con, files, damaged):
                known = found.get(meter_id)
                if known is None or heard.event_ts > known.event_ts:
                    found[meter_id] = heard
            if expected and expected <= found.keys():
                break
            start -= HOUR
    return Newest(found, damaged)


def _read(
    con: duckdb.DuckDBPyConnection, files: list[Path], damaged: list[Path]
) -> Iterator[tuple[str, Heard]]:
    if not files:
        return
    try:
        rows = con.execute(
            "SELECT meter_id, max_by(pole_id, event_ts), epoch_us(max(event_ts)) "
            f"FROM read_parquet({file_list(files)}) GROUP BY meter_id"
        ).fetchall()
    except duckdb.Error:
        if len(files) == 1:
            damaged += files
            return
        # File by file, the damaged ones name themselves.
        for path in files:
            yield from _read(con, [path], damaged)
        return
    for meter_id, pole_id, event_us in rows:
        yield meter_id, Heard(pole_id, datetime.fromtimestamp(event_us / _US, UTC))


@dataclass(frozen=True)
class Waiting:
    """What is stored and not in the published snapshot.

    Attributes:
        arrived_at: when a file landed last or, where none is left, an hour was compacted last.
        uncompacted_since: arrival of the oldest landed file that is not compacted.
        unpublished_since: arrival of the oldest landed file that the snapshot does not show.
        unbuilt_hours: hours that had ended by `now` and that no complete build has seen as they
            are now, each with its end or its last compaction, whichever came later; none while
            the models have changed since the last build.
    """

    arrived_at: datetime | None
    uncompacted_since: datetime | None
    unpublished_since: datetime | None
    unbuilt_hours: dict[datetime, datetime]


def waiting(data: DataDir, now: datetime, published_at: datetime | None) -> Waiting:
    """What waits in the lake.

    Args:
        data: where the lake lies.
        now: clock.
        published_at: when the lake was listed for the snapshot; None when there is none.

    Raises:
        LakeError: a manifest is damaged.
    """
    built = built_versions(data) if published_at else {}
    arrived: list[datetime] = []
    uncompacted: list[datetime] = []
    unpublished: list[datetime] = []
    unbuilt: dict[datetime, datetime] = {}
    for hour in hours(data):
        pending = [at for path in hour.pending if (at := _landed_at(path))]
        committed_at = _committed_at(hour)
        uncompacted += pending
        unpublished += pending
        arrived += [*pending, *([committed_at] if committed_at else [])]
        if committed_at and (published_at is None or committed_at >= published_at):
            # Files of such an hour stay in the landing until a snapshot shows it.
            merged = (data.landing / hour_folder(hour.start)).glob("[!.]*.parquet")
            times = [at for path in merged if (at := _landed_at(path))]
            late = [at for at in times if published_at is None or at > published_at]
            unpublished += late or [committed_at]
        # Other models leave nothing built: the next full hour makes everything anew.
        if built and hour.start + HOUR <= now and hour.version != built.get(hour.start):
            changed_at = committed_at or min(pending, default=now)
            unbuilt[hour.start] = max(hour.start + HOUR, changed_at)
    return Waiting(
        max(arrived, default=None),
        min(uncompacted, default=None),
        min(unpublished, default=None),
        unbuilt,
    )


def newest_refusal(data: DataDir) -> datetime | None:
    """When the ingest refused a reading or payload last, None when it never did."""
    newest = max(data.deadletter.glob("segments/dt=*/hr=*"), default=None)
    if newest is None:
        return None
    times = [at for path in newest.glob("[!.]*.jsonl") if (at := _landed_at(path))]
    return max(times, default=None)


def _committed_at(hour: Hour) -> datetime | None:
    committed = hour.manifest.committed_at
    return datetime.fromisoformat(committed) if committed else None


def _landed_at(path: Path) -> datetime | None:
    """When a file got its name; None when it has gone meanwhile."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
