"""A data folder that was built once through Dagster, for all tests of this folder."""

from __future__ import annotations

import os
import shutil

import pytest
from built_platform import Built

from ami_cli.building import prepare_instance
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_dagster.build import DBT_PROJECT_DIR, build_definitions
from ami_dagster.local_run import build_pending, instance_of


@pytest.fixture(scope="session")
def built(session_data: DataDir) -> Built:
    """The session's lake, built."""
    kept = {name: os.environ.get(name) for name in ("AMI_DATA_DIR", "DAGSTER_HOME")}
    settings = Settings(data_dir=session_data.root)
    home = prepare_instance(settings)
    definitions = build_definitions(settings)
    lines: list[str] = []
    with instance_of(home) as instance:
        outcome = build_pending(definitions, instance, session_data, report=lines.append)
    # Later runs prune the folders of earlier ones.
    for run in outcome.runs:
        for folder in (DBT_PROJECT_DIR / "target").glob(f"*_models-{run}"):
            shutil.copytree(folder, session_data.root / "targets" / folder.name)
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return Built(session_data, settings, definitions, outcome, lines)


@pytest.fixture
def environment(built: Built, monkeypatch: pytest.MonkeyPatch) -> Built:
    """The built platform with the environment its child processes need."""
    monkeypatch.setenv("AMI_DATA_DIR", str(built.data.root))
    monkeypatch.setenv("DAGSTER_HOME", str(built.data.dagster_home))
    return built
