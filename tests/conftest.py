"""Shared fixtures: an environment without a user's settings, empty and filled data folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import fill_lake

from ami_contract.lake import DataDir


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
