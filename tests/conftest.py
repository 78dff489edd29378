"""Shared fixtures: an environment without a user's settings, empty and filled data folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import fill_lake

from ami_contract.lake import DataDir

# Files that take longest start first, so that no worker is left alone with one of them at the end.
LONGEST = (
    "faults/test_kills.py",
    "faults/test_orchestration_faults.py",
    "faults/test_live_faults.py",
    "dbt_ami/test_incremental.py",
    "dbt_ami/test_incremental_faults.py",
    "dbt_ami/test_demand_response_incremental.py",
    "ami_cli/test_demo_check.py",
    "ami_cli/test_demo_stop.py",
    "dbt_ami/bigquery/test_tick.py",
    "dbt_ami/bigquery/test_googlesql.py",
    "ami_dashboard/test_browser.py",
    "ami_dagster/test_ui.py",
    "ami_cli/test_up.py",
    "beam_jobs/test_replay.py",
    "dbt_ami/test_events.py",
    "dbt_ami/test_demand_response.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order whole files; within a file the order stays."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.split("::")[0].removeprefix("tests/")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("AMI_")]:
        monkeypatch.delenv(name)
    for name in ("PUBSUB_EMULATOR_HOST", "DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """An empty data folder."""
    return DataDir(tmp_path / "data")


@pytest.fixture(scope="session")
def session_data(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """A filled data folder that a whole session shares; tests must not land in it."""
    data = DataDir(tmp_path_factory.mktemp("session") / "data")
    fill_lake(data)
    return data
