"""Reads a lake; compacts what lands, again and again, as the asset `compacted_readings` does it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ami_contract.errors import AmiError, LakeError
from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, hours
from ami_store.quarantine import set_aside_damaged

_PAUSE_S: Final = 0.5


def _now() -> datetime:
    return datetime.now(UTC)


now: Callable[[], datetime] = _now


def compact_pending(data: DataDir) -> list[str]:
    """Compact every hour that has files to merge; gives the commands that damaged files ask for.

    Raises:
        LakeError: the lake cannot be read or written.
    """
    remedies: list[str] = []
    with compaction_connection() as con:
        for hour in list(hours(data)):
            if hour.is_compacted:
                continue
            try:
                compact_hour(data, hour.start, now=now(), con=con)
            except LakeError:
                moved = set_aside_damaged(data, hour.start, now=now())
                if not moved:
                    raise
                remedies += [found.remedy for found in moved]
                compact_hour(data, hour.start, now=now(), con=con)
    return remedies


def compact_forever(root: Path, beat: Path) -> None:
    """Compact until killed; appends a byte to `beat` after every round."""
    while True:
        try:
            compact_pending(DataDir(root))
        except AmiError as error:
            sys.stderr.write(f"compaction: {error}\n")
        else:
            with beat.open("ab") as file:
                file.write(b".")
        time.sleep(_PAUSE_S)
