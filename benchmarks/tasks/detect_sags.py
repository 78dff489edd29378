"""Reads a lake whose models are built; gives the cost of detecting its sags anew.

python -m benchmarks.tasks.detect_sags LAKE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from ami_contract.lake import DataDir
from benchmarks.peers.cost import cost_of, tell

MODELS: Final = ("int_low_readings", "int_low_neighbours", "int_low_runs")
"""What only sags need, in the order of building."""

_REPEATS: Final = 3
_SETTINGS: Final = {
    "memory_limit": "2GB",
    "threads": 2,
    "preserve_insertion_order": False,
}


def compiled_models(data: DataDir) -> dict[str, str]:
    """SQL of `MODELS` as dbt compiled it for this lake."""
    manifest = json.loads((data.root / "target" / "manifest.json").read_bytes())
    compiled = data.root / "target" / "compiled" / "ami"
    return {
        name: (compiled / manifest["nodes"][f"model.ami.{name}"]["original_file_path"]).read_text()
        for name in MODELS
    }


@contextmanager
def warehouse(data: DataDir) -> Iterator[duckdb.DuckDBPyConnection]:
    """The lake's warehouse, with the settings that dbt runs with."""
    config = _SETTINGS | {"temp_directory": str(data.root / "spill")}
    with duckdb.connect(str(data.warehouse), config=config) as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def make_table(con: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """Replace the table `name` by the rows of `query`."""
    con.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")


def detect(con: duckdb.DuckDBPyConnection, models: dict[str, str]) -> None:
    """Build the models of `compiled_models` anew."""
    for name, query in models.items():
        make_table(con, name, query)


def detect_once(data: DataDir) -> dict[str, float]:
    """Cost of one detection in this process, the least of some."""
    models = compiled_models(data)
    with warehouse(data) as con:
        return cost_of(partial(detect, con, models), _REPEATS)


if __name__ == "__main__":
    tell(detect_once(DataDir(Path(sys.argv[1]))))
