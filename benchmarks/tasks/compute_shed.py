"""Reads a published warehouse; gives the cost of a demand-response event's sheds.

python -m benchmarks.tasks.compute_shed LAKE START END TARGET REPEATS
"""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from ami_contract.lake import DataDir
from ami_store.warehouse import query
from benchmarks.peers.cost import cost_of, tell

_EVENT_SQL: Final = """
select pole_id, baseline_kwh, shed_kwh
from dr_window_summary(?, ?, [])
where method = 'caiso_10_of_10' and is_own_adjustment
"""


def write_event(data: DataDir, start: str, end: str, target: Path) -> None:
    """Baseline and shed of all poles by the published function, as Parquet."""
    window = [datetime.fromisoformat(start), datetime.fromisoformat(end)]
    answer = query(data, _EVENT_SQL, window)
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (pole_id VARCHAR, baseline_kwh DOUBLE, shed_kwh DOUBLE)")
        con.executemany("INSERT INTO t VALUES (?, ?, ?)", answer.rows)
        con.execute(f"COPY t TO '{target}' (FORMAT parquet)")


if __name__ == "__main__":
    _root, _start, _end, _target, _repeats = sys.argv[1:]
    tell(
        cost_of(
            partial(write_event, DataDir(Path(_root)), _start, _end, Path(_target)), int(_repeats)
        )
    )
