"""Shared fixtures: an environment without a user's settings, empty and filled data folders."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support import fill_lake
from xdist.scheduler import LoadFileScheduling

from ami_contract.lake import DataDir

ROOT = Path(__file__).parents[1]

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

# How long an example takes depends on what else runs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Session fixtures that take tens of seconds and serve several files of a folder.
SHARED = {
    "ami_api": "api",
    "ami_dagster": "built",
    "ami_dashboard": "shown",
    "dbt_ami": "built",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--reversed`."""
    parser.addoption(
        "--reversed", action="store_true", help="last tests first, which none of them must notice"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order whole files; within a file the order stays, or is turned round."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.split("::")[0].removeprefix("tests/")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    if config.getoption("--reversed"):
        items.reverse()
    items.sort(key=rank)


class Together(LoadFileScheduling):
    """One worker runs a file's tests, and all files of a folder that share a fixture."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.split("::")[0])


@cache
def group(file: str) -> str:
    """The file, or the folder whose shared fixture a test of it takes."""
    folder = file.removeprefix("tests/").rpartition("/")[0]
    shared = SHARED.get(folder)
    if shared and re.search(rf"[(,]\s*{shared}[:,)]", (ROOT / file).read_text(encoding="utf-8")):
        return folder
    return file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`--numprocesses auto`: two more than processors, as a fifth of the time is waiting."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together | None:
    """`--dist loadfile` of several workers."""
    return Together(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("AMI_")]:
        monkeypatch.delenv(name)
    for name in ("PUBSUB_EMULATOR_HOST", "DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that Streamlit runs takes the place of `__main__`; processes started later read it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


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
