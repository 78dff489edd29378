"""Retention: reads how long things are kept, gives back the space of what is older.

Deletes whole UTC days that have passed: of the archive, of the dead letter, of the quarantine, and
the copies that compaction took out. Readings are never deleted: events are stitched from them and a
change of a model or threshold makes everything anew from them, so the marts would lose what the
lake has lost (docs/operations.md).

Every step removes files that nothing else names, or first commits that nothing does, so a kill at
any line leaves what the next night removes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from ami_contract.errors import LakeError, LockHeldError
from ami_contract.lake import DataDir, floor_hour
from ami_store.files import locked
from ami_store.lake import alone_in_lake, drop_copies, hours
from ami_store.quarantine import lone_reasons, quarantined, remove_set_aside

_DAY: Final = timedelta(days=1)
# Readers hold the archive for seconds, a replay for longer; then the next night does it.
_TRIES: Final = 60
_PAUSE_S: Final = 1.0
_HASH_KEY: Final = b'"payload_sha256":"'
_HASH_LENGTH: Final = 64


@dataclass(frozen=True)
class Kept:
    """Whole days that things are kept; 0: for ever.

    Attributes:
        archive_days: of the raw archive, by arrival.
        dead_letter_days: of refused payloads, by arrival.
        quarantine_days: of damaged landed files, by when they were set aside.
        copies_days: of copies taken out of readings, by hour of `event_ts`.
    """

    archive_days: int = 0
    dead_letter_days: int = 0
    quarantine_days: int = 0
    copies_days: int = 0


@dataclass(frozen=True)
class Removed:
    """What went of one place.

    Attributes:
        files: how many.
        bytes: of those.
    """

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.files + other.files, self.bytes + other.bytes)


def first_kept(now: datetime, days: int) -> datetime:
    """Start of the oldest UTC day that is kept: `days` whole days and today."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - days * _DAY


def apply_retention(
    data: DataDir,
    kept: Kept,
    *,
    now: datetime,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Removed]:
    """Delete what is older than it is kept; returns what went, by place (`archive`, …).

    Places that are kept for ever are not in the answer.

    Raises:
        LockHeldError: archive or dead letter are being read for longer than a minute.
        LakeError: a folder, manifest or file is not of this lake, or cannot be deleted.
    """
    steps: dict[str, tuple[int, Callable[[datetime], Removed]]] = {
        "archive": (kept.archive_days, lambda first: _archive(data, first, sleep)),
        "dead_letter": (kept.dead_letter_days, lambda first: _dead_letter(data, first, sleep)),
        "quarantine": (kept.quarantine_days, lambda first: _quarantine(data, first)),
        "copies": (kept.copies_days, lambda first: _copies(data, first, now)),
    }
    try:
        return {
            name: remove(first_kept(now, days)) for name, (days, remove) in steps.items() if days
        }
    except OSError as error:
        raise LakeError(
            f"cannot delete {error.filename or data.root}: {error.strerror or error}; mend the "
            "folder's permissions: the next night goes on"
        ) from error


def _archive(data: DataDir, first: datetime, sleep: Callable[[float], None]) -> Removed:
    """Files of days of `event_ts` that have passed and that were written before `first`."""
    done = Removed()
    # No round is in hand: its plan names segments and outputs that must be there.
    with _alone(data.archive_rounds_lock, sleep):
        planned = _planned_segments(data)
        for folder in _days_before(data.archive_raw.glob("pole_id=*/dt=*"), first.date()):
            with _alone(data.archive_lock, sleep):
                done += _remove(_written_before(folder.glob("hr=*/min=*/[!.]*"), first))
            _remove_empty([*folder.glob("hr=*/min=*"), *folder.glob("hr=*"), folder])
        for folder in _days_before((data.archive / "segments").glob("dt=*"), first.date()):
            with _alone(data.archive_lock, sleep):
                done += _remove(
                    path
                    for path in _written_before(folder.glob("hr=*/[!.]*"), first)
                    if str(path.relative_to(data.archive)) not in planned
                )
            _remove_empty(_untouched([*folder.glob("hr=*"), folder], first))
    return done


def _planned_segments(data: DataDir) -> set[str]:
    """Segments that the plan of a round that was cut off names."""
    named: set[str] = set()
    for path in data.archive_rounds.glob("[!.]*.json"):
        try:
            named.update(json.loads(path.read_bytes())["inputs"])
        except (ValueError, TypeError, KeyError) as error:
            raise LakeError(f"{path} is damaged ({error}); restore it from a backup") from error
    return named


def _dead_letter(data: DataDir, first: datetime, sleep: Callable[[float], None]) -> Removed:
    """Segments of hours of arrival that have passed, and payloads that no letter names."""
    done = Removed()
    replaying = {path.stem for path in data.deadletter_replaying.glob("[!.]*.json")}
    for folder in _days_before((data.deadletter / "segments").glob("dt=*"), first.date()):
        with _alone(data.archive_lock, sleep):
            done += _remove(
                path
                for path in _written_before(folder.glob("hr=*/[!.]*"), first)
                if path.stem not in replaying
            )
        _remove_empty(_untouched([*folder.glob("hr=*"), folder], first))
    old = list(_written_before(data.deadletter_payloads.glob("[!.]*"), first))
    if not old:
        return done
    with _alone(data.archive_lock, sleep):
        named = set(_payload_names(data))
        # Looked at again: a letter that came meanwhile has made its payload young.
        done += _remove(_written_before((path for path in old if path.name not in named), first))
    return done


def _payload_names(data: DataDir) -> Iterator[str]:
    """Names of payload files in the letters there are."""
    for path in data.deadletter.glob("segments/dt=*/hr=*/[!.]*.jsonl"):
        with path.open("rb") as file:
            for line in file:
                start = line.find(_HASH_KEY)
                if start >= 0:
                    start += len(_HASH_KEY)
                    yield line[start : start + _HASH_LENGTH].decode()


def _quarantine(data: DataDir, first: datetime) -> Removed:
    done = Removed()
    for found in list(quarantined(data)):
        if datetime.fromisoformat(found.at) < first:
            size = found.path.stat().st_size
            remove_set_aside(found)
            done += Removed(1, size)
    _remove(_written_before(lone_reasons(data), first))
    return done


def _copies(data: DataDir, first: datetime, now: datetime) -> Removed:
    """Commit that the copies of passed hours do not count; `collect_garbage` deletes their files.

    So a reader that has listed them, and whoever reads the published warehouse, still finds them
    for the grace time.
    """
    done = Removed()
    for hour in list(hours(data)):
        if hour.start >= floor_hour(first) or not hour.manifest.copies:
            continue
        with alone_in_lake(data):
            files, size = drop_copies(data, hour.start, now=now)
        done += Removed(files, size)
    return done


@contextmanager
def _alone(path: Path, sleep: Callable[[float], None]) -> Iterator[None]:
    """Hold a lock for the block once it is free, within a minute; raises LockHeldError.

    A waiting exclusive lock would not keep new readers out, but ticks of the layout would queue.
    """
    held = f"{path.name} is held by a reader or a writer; the retention of the next night goes on"
    with ExitStack() as stack:
        for tries_left in reversed(range(_TRIES)):
            try:
                stack.enter_context(locked(path, wait=False, held=held))
                break
            except LockHeldError:
                if not tries_left:
                    raise
                sleep(_PAUSE_S)
        yield


def _days_before(folders: Iterable[Path], first: date) -> list[Path]:
    """Folders `dt=YYYY-MM-DD` of days before `first`, oldest first; raises LakeError."""
    found = []
    for folder in folders:
        try:
            day = date.fromisoformat(folder.name.removeprefix("dt="))
        except ValueError as error:
            raise LakeError(f"{folder} is no day of this lake; move it away") from error
        if day < first:
            found.append((day, folder))
    return [folder for _, folder in sorted(found)]


def _written_before(paths: Iterable[Path], first: datetime) -> Iterator[Path]:
    limit = first.timestamp()
    for path in paths:
        try:
            if path.is_file() and path.stat().st_mtime < limit:
                yield path
        except FileNotFoundError:
            continue


def _remove(paths: Iterable[Path]) -> Removed:
    done = Removed()
    for path in list(paths):
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            continue
        done += Removed(1, size)
    return done


def _untouched(folders: Iterable[Path], first: datetime) -> list[Path]:
    """Folders in which nothing was made or deleted since `first`: no writer is about to use them.

    Only rounds, which are kept out, write to folders of days that have passed as a rule; an import
    may do so too.
    """
    return [folder for folder in folders if folder.stat().st_mtime < first.timestamp()]


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            continue
