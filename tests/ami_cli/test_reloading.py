"""The definitions are loaded again when lake or sources are ahead of them, between runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from waiting import wait_until

from ami_cli import reloading
from ami_cli.reloading import Reload, first_hour, newest_source, run_workers
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder
from ami_contract.settings import Settings

NOW = datetime(2026, 3, 1, 14, 30, tzinfo=UTC)


class Restarts:
    """A supervisor that only counts what it is asked to restart."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pid(self, name: str) -> int:
        """Some process."""
        return os.getpid()

    def restart(self, name: str) -> None:
        """Count it."""
        self.asked.append(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty data folder."""
    return Settings(data_dir=tmp_path / "data", _env_file=None)


def looking(
    settings: Settings, sources: Callable[[], float]
) -> tuple[Callable[[], list[str]], list[str]]:
    """What lets ten seconds pass and looks, and what was said so far."""
    seconds, said, restarts = [0.0], list[str](), Restarts()
    reload = Reload(settings, sources, lambda: seconds[0])

    def look() -> list[str]:
        seconds[0] += 10
        reload.look(restarts, said.append)  # type: ignore[arg-type]
        return restarts.asked

    return look, said


def land(data: DataDir, hour: datetime) -> None:
    """Make an hour exist."""
    (data.landing / hour_folder(hour)).mkdir(parents=True)


def test_the_partitions_start_at_the_oldest_hour_or_the_last_whole_one(settings: Settings) -> None:
    assert first_hour(settings.data, NOW) == datetime(2026, 3, 1, 13, tzinfo=UTC)
    land(settings.data, NOW - timedelta(days=3))
    assert first_hour(settings.data, NOW) == datetime(2026, 2, 26, 14, tzinfo=UTC)


def test_newer_readings_change_nothing_and_older_ones_restart_once(settings: Settings) -> None:
    look, said = looking(settings, lambda: 1.0)
    now = floor_hour(datetime.now(UTC))
    land(settings.data, now)
    land(settings.data, now - HOUR)
    assert look() == []
    land(settings.data, now - 5 * HOUR)
    assert look() == ["code-server"]
    since = f"{now - 5 * HOUR:%Y-%m-%d %H:%M}"
    assert said == [f"readings from {since} UTC on have come; loading the definitions again"]
    assert look() == ["code-server"]


def test_edited_sources_restart_once_they_are_no_longer_being_saved(settings: Settings) -> None:
    changed = [1.0]
    look, said = looking(settings, lambda: changed[0])
    for moment, restarts in ((1.0, 0), (2.0, 0), (3.0, 0), (3.0, 1), (3.0, 1), (4.0, 1), (4.0, 2)):
        changed[0] = moment
        assert len(look()) == restarts
    assert said[0] == "models or assets have changed; loading the definitions again"


def test_a_working_run_is_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    look, _ = looking(settings, lambda: 1.0)
    land(settings.data, datetime.now(UTC) - timedelta(days=1))
    monkeypatch.setattr(reloading, "run_workers", lambda pid: [1])
    assert look() == []
    monkeypatch.setattr(reloading, "run_workers", lambda pid: [])
    assert look() == ["code-server"]


def test_a_folder_that_is_no_hour_does_not_stop_the_platform(settings: Settings) -> None:
    look, _ = looking(settings, lambda: 1.0)
    (settings.data.landing / "dt=never" / "hr=ever").mkdir(parents=True)
    assert look() == []


def test_processes_of_runs_are_told_from_other_children() -> None:
    script = (
        "import multiprocessing, time\n"
        "if __name__ == '__main__':\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    process = spawn.Process(target=time.sleep, args=(60,))\n"
        "    process.daemon = True; process.start(); print(process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as server:
        assert server.stdout
        worker = int(server.stdout.readline())
        try:
            # Its number is known before its program runs.
            wait_until(
                lambda: run_workers(server.pid) == [worker], 20, lambda: f"{worker} is not told"
            )
        finally:
            os.kill(worker, 9)
            server.kill()
    assert run_workers(server.pid) == []


def test_what_dbt_writes_is_no_source(tmp_path: Path) -> None:
    for name, moment in (
        ("ami_dagster/a.py", 5),
        ("dbt_ami/models/m.sql", 7),
        ("dbt_ami/p.yml", 6),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (moment, moment))
    (tmp_path / "dbt_ami" / "target").mkdir()
    (tmp_path / "dbt_ami" / "target" / "manifest.json").touch()
    assert newest_source(tmp_path) == 7
