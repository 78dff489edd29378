"""One small lake, built by DuckDB and by GoogleSQL's evaluator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ami_contract.lake import DataDir

from ..conftest import run_dbt, write_lake
from ..fleet import Row
from .environments import environment
from .readings import DR_EVENTS, DR_VARS, lake_rows
from .warehouses import ROOT

WITH_VARS = ("--vars", json.dumps(DR_VARS))
MODELS_ONLY = (
    *("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"),
    *WITH_VARS,
)


@pytest.fixture(scope="session")
def sources() -> dict[str, list[Row]]:
    """Rows of dbt's sources by table."""
    stored, registry = lake_rows()
    return {"raw_meter_readings": stored, "meters": registry}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dbt project with the events of the lake in its seed."""
    copied = tmp_path_factory.mktemp("project") / "dbt_ami"
    shutil.copytree(ROOT / "dbt_ami", copied, ignore=shutil.ignore_patterns("target", "logs"))
    (copied / "seeds" / "demand_response" / "dr_events.csv").write_text(DR_EVENTS)
    return copied


@pytest.fixture(scope="session")
def duckdb_data(
    sources: dict[str, list[Row]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> DataDir:
    """The lake with the warehouse that dbt built of it on DuckDB."""
    data = DataDir(tmp_path_factory.mktemp("lake"))
    write_lake(data, sources["raw_meter_readings"], sources["meters"])
    done = run_dbt(data, "build", *MODELS_ONLY, project=project)
    assert done.returncode == 0, done.stdout
    return data


@pytest.fixture(scope="session")
def googlesql() -> Path:
    """Python of the evaluator's environment."""
    return environment("googlesql")
