"""UI and dashboard listen on loopback unless an address is named; other parts only there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ami_cli.dagster_part import run_dagster
from ami_cli.platform_run import CODE_SERVER, DAEMON, WEBSERVER, dagster_command
from ami_cli.processes import free_port
from ami_cli.serve_dashboard import run_dashboard
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a data folder of the test's own."""
    return Settings(data_dir=tmp_path)


def test_the_webserver_listens_where_it_is_told(settings: Settings) -> None:
    told = dagster_command(WEBSERVER, settings, "0.0.0.0")
    assert told[told.index("-h") + 1] == "0.0.0.0"
    here = dagster_command(WEBSERVER, settings)
    assert here[here.index("-h") + 1] == "127.0.0.1"
    assert "0.0.0.0" not in dagster_command(CODE_SERVER, settings, "0.0.0.0")


@pytest.mark.parametrize("part", [CODE_SERVER, DAEMON])
def test_other_parts_of_dagster_are_not_opened(part: str, settings: Settings) -> None:
    with pytest.raises(SettingsError, match="--host is for the webserver"):
        run_dagster(settings, part, "0.0.0.0")


def test_the_dashboard_listens_where_it_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *call: became.append(call))
    run_dashboard(settings, free_port(), "0.0.0.0")
    run_dashboard(settings, free_port())
    assert "--server.address=0.0.0.0" in became[0][1]
    assert "--server.address=127.0.0.1" in became[1][1]
