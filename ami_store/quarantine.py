"""Damaged landed files: reads the landing, moves what is not whole aside so that the rest goes on.

A file set aside keeps its name and hour below `quarantine/`; beside it stands why. Its readings are
in the raw archive: a replay of the hour stores them again and clears the quarantine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ami_contract.lake import DataDir, hour_folder, hour_of_folder
from ami_store.files import fsync_folder, write_bytes
from ami_store.lake import alone_in_lake, damage, landed_rows, read_hour, replay_command

_REASON = ".json"


@dataclass(frozen=True)
class SetAside:
    """A landed file that cannot be read.

    Attributes:
        path: where it lies now.
        hour: UTC hour of its readings.
        rows: readings it holds by its name.
        reason: what is wrong with it.
        at: ISO 8601, when it was set aside.
    """

    path: Path
    hour: datetime
    rows: int
    reason: str
    at: str

    @property
    def remedy(self) -> str:
        """Command that stores its readings again and clears it."""
        return replay_command(self.hour)


def set_aside_damaged(data: DataDir, start: datetime, *, now: datetime) -> list[SetAside]:
    """Move the landed files of an hour that cannot be read out of the landing.

    The reason is written first: killed in between and run again, the file follows it.

    Raises:
        LakeError: the quarantine cannot be written; names it.
    """
    moved = []
    with alone_in_lake(data):
        for path in read_hour(data, start).pending:
            if reason := damage(path):
                moved.append(_set_aside(data, path, start, reason, now))
    return moved


def _set_aside(data: DataDir, path: Path, start: datetime, reason: str, now: datetime) -> SetAside:
    target = data.quarantine / hour_folder(start) / path.name
    found = SetAside(target, start, landed_rows(path), reason, now.astimezone(UTC).isoformat())
    write_bytes(_reason_file(target), json.dumps(asdict(found), default=str).encode())
    path.replace(target)
    fsync_folder(target.parent)
    fsync_folder(path.parent)
    return found


def quarantined(data: DataDir) -> Iterator[SetAside]:
    """Files that are set aside now, oldest hour first; the reason is `unknown…` when it is lost."""
    for path in sorted(data.quarantine.glob("dt=*/hr=*/*.parquet")):
        hour = hour_of_folder(path.parent)
        try:
            told = json.loads(_reason_file(path).read_bytes())
            yield SetAside(path, hour, told["rows"], told["reason"], told["at"])
        except (OSError, ValueError, KeyError, TypeError):
            if (found := _without_reason(path, hour)) is not None:
                yield found


def _without_reason(path: Path, hour: datetime) -> SetAside | None:
    """What a file whose reason is lost tells by itself; None: it was cleared meanwhile."""
    try:
        moved_s = path.stat().st_ctime
    except FileNotFoundError:
        return None
    at = datetime.fromtimestamp(moved_s, UTC).isoformat()
    return SetAside(path, hour, landed_rows(path), "unknown: its reason cannot be read", at)


def clear_quarantine(data: DataDir, starts: Iterable[datetime]) -> int:
    """Delete the files set aside of hours that were made anew; returns how many."""
    cleared = 0
    for start in starts:
        for path in (data.quarantine / hour_folder(start)).glob("*.parquet"):
            path.unlink()
            _reason_file(path).unlink(missing_ok=True)
            cleared += 1
    return cleared


def lone_reasons(data: DataDir) -> Iterator[Path]:
    """Reasons whose file is not here: cleared by a process that was killed, or yet to come."""
    for path in data.quarantine.glob(f"dt=*/hr=*/[!.]*{_REASON}"):
        if not path.with_name(path.name.removesuffix(_REASON)).exists():
            yield path


def remove_set_aside(found: SetAside) -> None:
    """Delete a file that was set aside; its reason, the last to go, names it until then."""
    found.path.unlink(missing_ok=True)
    _reason_file(found.path).unlink(missing_ok=True)


def _reason_file(path: Path) -> Path:
    return path.with_name(path.name + _REASON)
