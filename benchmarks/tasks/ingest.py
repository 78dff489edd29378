"""Reads simulated messages in memory; gives the cost of ingesting so many readings.

python -m benchmarks.tasks.ingest READINGS FOLDER
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from benchmarks.backlog import MemorySource, drain, drain_memory, endless, make_backlog
from benchmarks.definition import BenchmarkError
from benchmarks.peers.cost import cost_of, tell

_BLOCK_READINGS: Final = 500_000
_WARM_UP_READINGS: Final = 10_000
_REPEATS: Final = 3
_REPEATED_UP_TO: Final = 1_000_000


def ingest(readings: int, folder: Path) -> dict[str, float]:
    """Cost of ingesting `readings` in Arrow messages that stand in memory.

    Raises:
        BenchmarkError: a reading was not stored.
    """
    backlog = make_backlog("arrow", min(readings, _BLOCK_READINGS))
    few = make_backlog("arrow", _WARM_UP_READINGS)
    drain_memory(few.messages, few.now, DataDir(folder / "warm-up"))
    data = DataDir(folder / "lake")

    def store() -> None:
        source = MemorySource(endless(backlog, readings))
        stored = drain(source, backlog.now, data).totals.counters["stored"]
        if stored != readings:
            raise BenchmarkError(f"{stored} of {readings} readings were stored")

    repeats = _REPEATS if readings <= _REPEATED_UP_TO else 1
    return cost_of(store, repeats, before_each=partial(shutil.rmtree, data.root, True))


if __name__ == "__main__":
    tell(ingest(int(sys.argv[1]), Path(sys.argv[2])))
