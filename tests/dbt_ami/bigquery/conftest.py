"""One small lake, built by DuckDB and by GoogleSQL's evaluator."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami_contract.lake import DataDir

from ..conftest import run_dbt, write_lake
from ..fleet import Row
from .environments import environment
from .readings import lake_rows

MODELS_ONLY = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")


@pytest.fixture(scope="session")
def sources() -> dict[str, list[Row]]:
    """Rows of dbt's sources by table."""
    stored, registry = lake_rows()
    return {"raw_meter_readings": stored, "meters": registry}


@pytest.fixture(scope="session")
def duckdb_data(sources: dict[str, list[Row]], tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """The lake with the warehouse that dbt built of it on DuckDB."""
    data = DataDir(tmp_path_factory.mktemp("lake"))
    write_lake(data, sources["raw_meter_readings"], sources["meters"])
    done = run_dbt(data, "build", *MODELS_ONLY)
    assert done.returncode == 0, done.stdout
    return data


@pytest.fixture(scope="session")
def googlesql() -> Path:
    """Python of the evaluator's environment."""
    return environment("googlesql")
