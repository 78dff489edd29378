"""Processes of dbt that lost their run: reads the process list, ends them.

A run that is killed leaves its dbt behind, which would go on writing and hold the warehouse's file
against the run that makes up for it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from ami_contract.lake import DataDir

_STOP_S: Final = 10.0


def end_lost_dbt(data: DataDir) -> list[int]:
    """End every dbt that Dagster started over this data folder; returns their process ids.

    For whoever holds the warehouse's pool: it lets one step work at a time, so whatever dbt works
    besides has lost its run. What it has not committed is undone by DuckDB.
    """
    found = [process for process in psutil.process_iter() if _builds(process, data.root)]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=_STOP_S)
    return [process.pid for process in found]


def _builds(process: psutil.Process, root: Path) -> bool:
    try:
        line = process.cmdline()
        if "build" not in line or "dbt" not in [Path(part).name for part in line[:2]]:
            return False
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return "DAGSTER_DBT_CLI" in environment and environment.get("AMI_DATA_DIR") == str(root)
