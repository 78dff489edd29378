"""When Dagster's definitions are loaded anew: reads lake and sources, gives a new code server.

The partitions start at the lake's oldest hour as it was when the definitions were loaded, so
readings that are older need them loaded again; so do edited models and assets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from ami_cli.instance import ROOT
from ami_cli.platform_run import CODE_SERVER
from ami_cli.processes import Supervisor
from ami_contract.errors import LakeError
from ami_contract.lake import HOUR, DataDir, floor_hour
from ami_contract.settings import Settings
from ami_dagster.dbt_sources import dbt_sources
from ami_store.lake import oldest_hour

_EVERY_S: Final = 10.0
_SOURCES: Final = ("ami_contract", "ami_store", "ami_dagster")


class Reload:
    """Restarts the code server when what it has loaded is behind, once no run is working.

    Args:
        settings: where the lake lies.
        sources: newest change of the sources, Unix time in s.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data = settings.data
        self._sources = sources or newest_source
        self._clock = clock
        self._seen = self._sources()
        self._remember()

    def _remember(self) -> None:
        self._looked_s = self._clock()
        self._first = first_hour(self._data, datetime.now(UTC))
        self._loaded = self._seen

    def look(self, supervisor: Supervisor, report: Callable[[str], None]) -> None:
        """Restart the code server if it is due; looks every 10 s, so it may be called often."""
        if self._clock() - self._looked_s < _EVERY_S:
            return
        self._looked_s = self._clock()
        why = self._reason()
        pid = supervisor.pid(CODE_SERVER)
        if why and pid is not None and not run_workers(pid):
            report(f"{why}; loading the definitions again")
            supervisor.restart(CODE_SERVER)
            self._remember()

    def _reason(self) -> str | None:
        before, self._seen = self._seen, self._sources()
        oldest = _oldest_hour(self._data)
        if oldest and oldest < self._first:
            return f"readings from {oldest:%Y-%m-%d %H:%M} UTC on have come"
        # Changed, and not just being saved.
        if self._seen > self._loaded and self._seen == before:
            return "models or assets have changed"
        return None


def first_hour(data: DataDir, now: datetime) -> datetime:
    """Where the partitions start when the definitions are loaded at `now`."""
    return _oldest_hour(data) or floor_hour(now) - HOUR


def _oldest_hour(data: DataDir) -> datetime | None:
    try:
        return oldest_hour(data)
    except LakeError:
        # `ami doctor` and the next build name the folder; the platform goes on.
        return None


def newest_source(root: Path = ROOT) -> float:
    """Unix time in s of the last change to what the definitions are made of."""
    return max((path.stat().st_mtime for path in _sources(root)), default=0.0)


def _sources(root: Path) -> Iterator[Path]:
    for folder in _SOURCES:
        yield from (root / folder).rglob("*.py")
    yield from dbt_sources(root / "dbt_ami")


def run_workers(code_server: int) -> list[int]:
    """Ids of the processes in which runs that a code server launched are working."""
    try:
        children = psutil.Process(code_server).children()
    except psutil.NoSuchProcess:
        return []
    found = []
    for child in children:
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return found
