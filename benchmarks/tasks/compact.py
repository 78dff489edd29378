"""Reads a lake's landed files; gives the cost of compacting them, or of the limit of that.

python -m benchmarks.tasks.compact SIDE LAKE REPEATS
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, hours
from ami_store.sql import file_list, text_literal
from benchmarks.peers.cost import cost_of, tell

LANDED: Final = "*/*/*.parquet"
"""Files below the landing's folder."""


def landed_files(data: DataDir) -> list[Path]:
    """The landed files, in order."""
    return sorted(data.landing.glob(LANDED))


def compact_anew(data: DataDir, con: duckdb.DuckDBPyConnection) -> None:
    """Compact every hour with the platform's own code."""
    now = datetime.now(UTC)
    for hour in list(hours(data)):
        compact_hour(data, hour.start, now=now, con=con)


def sort_only(files: list[Path], target: Path, con: duckdb.DuckDBPyConnection) -> None:
    """The limit: read the files, sort, write zstd Parquet, in the same DuckDB."""
    con.execute(
        f"COPY (SELECT * FROM read_parquet({file_list(files)}) ORDER BY meter_id, event_ts, seq) "
        f"TO {text_literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    )


def measure_side(side: str, data: DataDir, repeats: int) -> dict[str, float]:
    """Cost of `ours` or of the `limit` in this process; what it wrote stays."""
    con = compaction_connection()
    if side == "limit":
        target = data.root / "limit.parquet"
        return cost_of(partial(sort_only, landed_files(data), target, con), repeats)
    return cost_of(
        partial(compact_anew, data, con),
        repeats,
        before_each=partial(shutil.rmtree, data.readings, ignore_errors=True),
    )


if __name__ == "__main__":
    _side, _root, _repeats = sys.argv[1:]
    tell(measure_side(_side, DataDir(Path(_root)), int(_repeats)))
