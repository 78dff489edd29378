"""Builds a lake of random readings and runs the real dbt over it, once for the folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from ami_contract.lake import DataDir, floor_hour
from ami_contract.reading import ROW_SCHEMA
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.lake import compact_hour, compaction_connection, land
from ami_store.registry import write_registry

from .dbt_fork import forked_dbt
from .fleet import Row, build_fleet, registry_rows
from .fleet_events import build_events_fleet
from .reference import Reference

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def write_lake(data: DataDir, stored: list[Row], registry: list[Row]) -> None:
    """Land `stored` in two segments per hour, compact every hour, write the registry."""
    hours: dict[datetime, list[Row]] = defaultdict(list)
    for row in stored:
        hours[floor_hour(row["event_ts"])].append(row)
    con = compaction_connection()
    for hour, rows in hours.items():
        for number in range(2):
            part = pa.Table.from_pylist(rows[number::2], schema=ROW_SCHEMA)
            land(data, hour, f"part{number}", part)
        compact_hour(data, hour, now=NOW, con=con)
    con.close()
    write_registry(data.registry, pa.Table.from_pylist(registry, schema=REGISTRY_SCHEMA))


def dbt_arguments(data: DataDir, *arguments: str, project: Path = ROOT / "dbt_ami") -> list[str]:
    """Arguments for dbt, with the project and a target folder beside the lake."""
    return [
        *arguments,
        "--project-dir",
        str(project),
        "--profiles-dir",
        str(project),
        "--target-path",
        str(data.root / "target"),
        "--log-path",
        str(data.root / "logs"),
        "--no-use-colors",
    ]


def _command(data: DataDir, *arguments: str, project: Path = ROOT / "dbt_ami") -> list[str]:
    dbt = str(Path(sys.executable).with_name("dbt"))
    return [dbt, *dbt_arguments(data, *arguments, project=project)]


def dbt_environment(data: DataDir) -> dict[str, str]:
    """Environment of a dbt that works on this lake with this code."""
    return {**os.environ, "AMI_DATA_DIR": str(data.root), "PYTHONPATH": str(ROOT)}


def run_dbt(
    data: DataDir, *arguments: str, project: Path = ROOT / "dbt_ami"
) -> subprocess.CompletedProcess[str]:
    """Run dbt as a shell would; its target folder lies beside the lake."""
    arguments_of_dbt = dbt_arguments(data, *arguments, project=project)
    output = data.root / "dbt.txt"
    status = forked_dbt(arguments_of_dbt, dbt_environment(data), output)
    return subprocess.CompletedProcess(arguments_of_dbt, status, output.read_text())


def start_dbt(data: DataDir, *arguments: str) -> subprocess.Popen[bytes]:
    """The same, to be waited for or killed by the caller."""
    return subprocess.Popen(
        _command(data, *arguments),
        env=dbt_environment(data),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@dataclass
class Built:
    """A built warehouse and what it must hold."""

    data: DataDir
    con: duckdb.DuckDBPyConnection
    reference: Reference
    stored: list[Row]
    registry: list[Row]
    output: str

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of `query` as dicts."""
        cursor = self.con.execute(query)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Three random seeds in one lake after `dbt build`, models and tests."""
    data = DataDir(tmp_path_factory.mktemp("lake"))
    meters, stored = build_fleet([1, 2, 3])
    events_stored, events_registry = build_events_fleet([1, 2])
    stored += events_stored
    registry = registry_rows(meters) + events_registry
    write_lake(data, stored, registry)
    done = run_dbt(data, "build")
    assert done.returncode == 0, done.stdout
    con = duckdb.connect(str(data.warehouse), read_only=True)
    con.execute("SET TimeZone = 'UTC'")
    yield Built(data, con, Reference(stored, registry), stored, registry, done.stdout)
    con.close()


def assert_same_rows(
    actual: dict[Any, dict[str, Any]], expected: dict[Any, dict[str, Any]], exact: set[str]
) -> None:
    """Compare keyed rows over the columns of `expected`; numbers outside `exact` within 1e-9.

    Within rather than equal because sums of floats depend on their order.
    """
    assert sorted(actual) == sorted(expected)
    for key, want in expected.items():
        got = actual[key]
        for column, value in want.items():
            if isinstance(value, float) and column not in exact:
                assert got[column] == pytest.approx(value, rel=1e-9, abs=1e-9), (key, column)
            else:
                assert got[column] == value, (key, column)
