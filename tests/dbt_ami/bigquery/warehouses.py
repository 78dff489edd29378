"""Both warehouses on the same lake: gives the rows of every model from each, and compares them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from ami_contract.lake import DataDir

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TOLERANCE = 1e-9
DAY_WINDOWS = {"int_baseline_windows", "int_changed_day_windows", "int_estimated_windows"}
"""Of demand response, beside those in the folder `windows`."""


@dataclass
class Rows:
    """Rows of a model with the names of its columns and which of them are floating point."""

    columns: list[str]
    floats: set[str]
    rows: list[list[Any]]


def plain(cell: Any) -> Any:
    """A cell as the judges write it: times in µs since 1970, days in ISO 8601, lists as tuples."""
    if isinstance(cell, datetime):
        return (cell - EPOCH) // timedelta(microseconds=1) if cell.tzinfo else cell.isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, list):
        return tuple(plain(item) for item in cell)
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    return cell


def load_step(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A step of a plan: the source `name` with its columns from the contract's rendered schema."""
    schema = json.loads((ROOT / "ami_contract" / "generated" / f"{name}.bigquery.json").read_text())
    columns = [
        [
            column["name"],
            f"ARRAY<{column['type']}>" if column["mode"] == "REPEATED" else column["type"],
        ]
        for column in schema
    ]
    cells = [[plain(row[column]) for column, _ in columns] for row in rows]
    step: dict[str, Any] = {"name": name, "columns": columns, "rows": cells}
    if name == "raw_meter_readings":
        step["partition_by"] = "event_ts"
    return {"load": step}


def dbt_arguments(project: Path, target_path: Path, target: str, *command: str) -> list[str]:
    """Arguments of a dbt command on one of the judges."""
    return [
        *command,
        *("--project-dir", str(project), "--profiles-dir", str(HERE), "--target", target),
        *("--target-path", str(target_path), "--log-path", str(target_path), "--no-use-colors"),
    ]


def run_plan(python: Path, folder: Path, steps: list[dict[str, Any]]) -> list[Any]:
    """Results of a plan of `dbt_on_googlesql`, one per step."""
    plan, answer = folder / "plan.json", folder / "answer.json"
    plan.write_text(json.dumps({"python": str(python), "steps": steps}))
    done = subprocess.run(
        [sys.executable, str(HERE / "dbt_on_googlesql.py"), str(plan), str(answer)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: list[Any] = json.loads(answer.read_text())
    return results


def built_tables(manifest: Path) -> list[str]:
    """Models and seeds of a manifest that hold the same on both warehouses, by name.

    The models of what to restate do not: BigQuery restates by days, DuckDB by hours.
    """
    nodes = json.loads(manifest.read_text())["nodes"].values()
    return sorted(
        node["alias"]
        for node in nodes
        if node["resource_type"] in ("model", "seed")
        and node["config"]["materialized"] not in ("ephemeral", "table_function")
        and node["config"]["enabled"]
        and "windows" not in node["fqn"]
        and node["name"] not in DAY_WINDOWS
    )


def duckdb_rows(data: DataDir, names: Sequence[str]) -> dict[str, Rows]:
    """Rows of each of `names` in the built DuckDB warehouse."""
    found = {}
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        for name in names:
            cursor = con.execute(f"SELECT * FROM {name}")
            columns = [column[0] for column in cursor.description or []]
            kinds = [str(column[1]) for column in cursor.description or []]
            floats = {c for c, kind in zip(columns, kinds, strict=True) if kind == "DOUBLE"}
            rows = [[plain(cell) for cell in row] for row in cursor.fetchall()]
            found[name] = Rows(columns, floats, rows)
    return found


def googlesql_rows(dump: dict[str, Any]) -> dict[str, Rows]:
    """Rows of a `dump` step."""
    found = {}
    for name, table in dump.items():
        kinds = dict(table["columns"])
        rows = [
            [
                plain(Decimal(cell)) if "NUMERIC" in kind and cell is not None else plain(cell)
                for cell, kind in zip(row, kinds.values(), strict=True)
            ]
            for row in table["rows"]
        ]
        floats = {column for column, kind in kinds.items() if kind == "FLOAT64"}
        found[name] = Rows(list(kinds), floats, rows)
    return found


def differences(expected: Rows, actual: Rows) -> list[str]:
    """What differs between two sets of rows, in a few lines; nothing if they are the same.

    Rows are told apart by all columns that are not floating point; floats agree within 1e-9,
    because their sums depend on the order of rows.
    """
    if expected.columns != actual.columns:
        return [f"columns {expected.columns} are {actual.columns}"]
    floats = expected.floats | actual.floats
    ours, theirs = _grouped(expected, floats), _grouped(actual, floats)
    lines = [f"missing: {key}" for key in ours if len(ours[key]) > len(theirs.get(key, []))]
    lines += [f"too many: {key}" for key in theirs if len(theirs[key]) > len(ours.get(key, []))]
    for key in ours.keys() & theirs.keys():
        for want, got in zip(ours[key], theirs[key], strict=False):
            lines += [
                f"{column} of {key}: {a!r} is {b!r}"
                for column, a, b in zip(_kept(expected, floats), want, got, strict=True)
                if not _is_close(a, b)
            ]
    return lines


def _kept(rows: Rows, floats: set[str]) -> list[str]:
    return [column for column in rows.columns if column in floats]


def _grouped(rows: Rows, floats: set[str]) -> dict[str, list[list[Any]]]:
    groups: dict[str, list[list[Any]]] = defaultdict(list)
    for row in rows.rows:
        cells = dict(zip(rows.columns, row, strict=True))
        key = {column: cell for column, cell in cells.items() if column not in floats}
        groups[repr(key)].append([cells[column] for column in _kept(rows, floats)])
    for group in groups.values():
        group.sort(key=lambda cells: [(cell is None, cell or 0.0) for cell in cells])
    return groups


def _is_close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
