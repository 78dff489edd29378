"""Reads a lake whose models are built; gives the cost of computing pole health anew.

python -m benchmarks.tasks.compute_health LAKE REPEATS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import duckdb

from ami_contract.lake import DataDir
from benchmarks.peers.cost import cost_of, tell
from benchmarks.tasks.detect_sags import warehouse

MODEL: Final = "pole_health_hourly"


def upstream(nodes: Mapping[str, Any], name: str) -> list[str]:
    """Ids of the model `name` and all models it is made of, in an order of building."""
    order: list[str] = []

    def visit(node_id: str) -> None:
        if node_id not in order and node_id.startswith("model."):
            for parent in nodes[node_id]["depends_on"]["nodes"]:
                visit(parent)
            order.append(node_id)

    visit(f"model.ami.{name}")
    return order


def statements(data: DataDir) -> list[str]:
    """What makes the model anew from the compacted readings, as dbt compiled it for this lake."""
    nodes = json.loads((data.root / "target" / "manifest.json").read_bytes())["nodes"]
    compiled = data.root / "target" / "compiled" / "ami"
    found = []
    for node_id in upstream(nodes, MODEL):
        node = nodes[node_id]
        kind = "VIEW" if node["config"]["materialized"] == "view" else "TABLE"
        if node["config"]["materialized"] != "ephemeral":
            query = (compiled / node["original_file_path"]).read_text()
            found.append(f"CREATE OR REPLACE {kind} {node['name']} AS {query}")
    return found


def compute(con: duckdb.DuckDBPyConnection, queries: list[str]) -> None:
    """Run `statements`, one after the other."""
    for query in queries:
        con.execute(query)


def compute_once(data: DataDir, repeats: int) -> dict[str, float]:
    """Cost of computing in this process."""
    queries = statements(data)
    with warehouse(data) as con:
        return cost_of(partial(compute, con, queries), repeats)


if __name__ == "__main__":
    _root, _repeats = sys.argv[1:]
    tell(compute_once(DataDir(Path(_root)), int(_repeats)))
