"""`needs_rebuild`: what a person edits between two builds is noticed by the next one."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
import yaml

from ami_contract.lake import DataDir
from ami_dagster import local_run
from ami_dagster.build import DBT_PROJECT_DIR
from ami_dagster.dbt_sources import DBT_FOLDERS

LISTED_S = 1_772_366_400  # 2026-03-01T12:00:00Z


FILES = (
    "models/a.sql",
    "macros/b.sql",
    "tests/d.sql",
    "seeds/demand_response/c.csv",
    "dbt_project.yml",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dbt project all of whose files are a minute older than the snapshot."""
    folder = tmp_path / "dbt"
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (LISTED_S - 60, LISTED_S - 60))
    monkeypatch.setattr(local_run, "DBT_PROJECT_DIR", folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A data folder whose snapshot was listed at LISTED_S."""
    found = DataDir(tmp_path / "data")
    found.published_warehouse.parent.mkdir(parents=True)
    with duckdb.connect(found.published_warehouse) as con:
        con.execute("CREATE SCHEMA lake")
        con.execute(f"CREATE TABLE lake.listing AS SELECT to_timestamp({LISTED_S}) AS listed_at")
    return found


def test_a_project_that_nobody_touched_asks_for_nothing(project: Path, data: DataDir) -> None:
    assert not local_run.needs_rebuild(data)


def test_the_folders_are_those_of_the_project() -> None:
    options = yaml.safe_load((DBT_PROJECT_DIR / "dbt_project.yml").read_text())
    named = [options[f"{kind}-paths"] for kind in ("model", "macro", "test", "seed")]
    assert [*DBT_FOLDERS] == [folder for folders in named for folder in folders]


@pytest.mark.parametrize("edited", FILES)
def test_an_edited_file_of_the_project_asks_for_a_build(
    project: Path, data: DataDir, edited: str
) -> None:
    os.utime(project / edited, (LISTED_S + 60, LISTED_S + 60))
    assert local_run.needs_rebuild(data)
