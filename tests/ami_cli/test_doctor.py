"""`ami doctor` names what is broken and says what to do; each finding against the real thing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from ami_cli import doctor
from ami_cli.doctor import Finding
from ami_cli.instance import instance_environment, prepare_instance
from ami_cli.processes import free_port, only_one
from ami_contract.lake import hour_folder
from ami_contract.settings import Settings
from ami_store.lake import landed_name
from ami_store.quarantine import set_aside_damaged


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty data folder with free ports."""
    found = Settings(
        data_dir=tmp_path / "data",
        pubsub_port=free_port(),
        dagster_port=free_port(),
        code_server_port=free_port(),
        api_port=free_port(),
        dashboard_port=free_port(),
        _env_file=None,
    )
    for name, value in instance_environment(found).items():
        monkeypatch.setenv(name, value)
    return found


def of(found: list[Finding], check: str) -> Finding:
    """The one finding of a check."""
    [finding] = [finding for finding in found if finding.check == check]
    return finding


def test_nothing_fails_before_the_first_start(settings: Settings) -> None:
    found = doctor.findings(settings)
    assert {finding.check for finding in found if finding.level != "ok"} <= {"registry", "disk"}
    assert of(found, "registry").level == "warn"
    assert not settings.data_dir.exists()


def test_absent_and_unfit_packages_are_named() -> None:
    finding = doctor.packages_finding(["no-such-package>=1", "pyyaml<1", "duckdb>=2.0"])
    assert finding.level == "fail"
    assert finding.message.startswith("no-such-package is absent, pyyaml ")
    assert finding.message.endswith(" is not <1")
    assert finding.advice == "run `make setup`"


def test_a_taken_port_names_who_has_it_and_the_variable(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.dagster_port))
        taken.listen()
        found = list(doctor.port_findings(settings, None))
        running = list(doctor.port_findings(settings, os.getpid()))
    assert [finding.level for finding in found] == ["fail", "ok", "ok", "ok", "ok"]
    assert f"{settings.dagster_port} (Dagster UI) is taken by pid {os.getpid()}" in found[0].message
    assert "AMI_DAGSTER_PORT" in found[0].advice
    # While the platform runs it is the other way round.
    assert [finding.level for finding in running] == ["ok", "fail", "fail", "fail", "fail"]


def test_the_running_platform_is_known_by_its_lock(settings: Settings) -> None:
    assert doctor.running_platform(settings) is None
    with only_one(settings.data.run / "platform.lock", "the platform"):
        assert doctor.running_platform(settings) == os.getpid()
    assert doctor.running_platform(settings) is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = doctor.folder_finding(tmp_path / "file" / "data")
    assert (finding.level, finding.check) == ("fail", "folder")
    assert str(tmp_path / "file") in finding.message
    assert doctor.folder_finding(tmp_path / "new" / "data").level == "ok"


def test_little_room_warns_and_none_fails(tmp_path: Path) -> None:
    endless = 10**18
    assert doctor.disk_finding(tmp_path, least=0, little=0).level == "ok"
    assert doctor.disk_finding(tmp_path, least=0, little=endless).level == "warn"
    assert doctor.disk_finding(tmp_path, least=endless).level == "fail"


def test_a_clock_behind_the_files_fails(tmp_path: Path) -> None:
    now_s = time.time()
    (tmp_path / "landing").mkdir()
    for ahead_s, level in ((50, "ok"), (3600, "fail")):
        os.utime(tmp_path / "landing", (now_s, now_s + ahead_s))
        finding = doctor.clock_finding(tmp_path, now_s)
        assert finding.level == level
    assert "3600 s younger" in finding.message


def test_missing_google_credentials_fail_in_the_profile_gcp(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    assert doctor.credentials_finding(settings).level == "ok"
    finding = doctor.credentials_finding(settings.model_copy(update={"profile": "gcp"}))
    assert finding.level == "fail"
    assert "/nowhere/key.json" in finding.message


def test_an_emulator_that_does_not_answer_fails(settings: Settings) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        there = settings.model_copy(update={"pubsub_emulator_host": host})
        assert doctor.pubsub_finding(there, None).level == "ok"
    assert doctor.pubsub_finding(there, None).level == "fail"
    # The embedded one has to answer only while the platform runs.
    assert doctor.pubsub_finding(settings, None).level == "ok"
    assert doctor.pubsub_finding(settings, 1).level == "fail"


def test_what_does_not_belong_in_the_lake_is_named(settings: Settings) -> None:
    assert doctor.lake_finding(settings).level == "ok"
    foreign = settings.data.landing / "dt=yesterday" / "hr=noon"
    foreign.mkdir(parents=True)
    finding = doctor.lake_finding(settings)
    assert finding.level == "fail"
    assert str(foreign) in finding.message


def test_a_damaged_file_that_was_set_aside_warns_with_its_remedy(settings: Settings) -> None:
    hour = datetime(2026, 3, 1, 14, tzinfo=UTC)
    folder = settings.data.landing / hour_folder(hour)
    folder.mkdir(parents=True)
    (folder / landed_name("torn", 10)).write_bytes(b"no Parquet")
    set_aside_damaged(settings.data, hour, now=hour)
    finding = doctor.lake_finding(settings)
    assert finding.level == "warn"
    assert finding.message.startswith("1 damaged files are set aside")
    assert "ami replay --from 2026-03-01T14:00 --to 2026-03-01T15:00" in finding.advice


def test_a_registry_that_cannot_be_read_fails(settings: Settings) -> None:
    settings.data.registry.parent.mkdir(parents=True)
    settings.data.registry.write_text("not,a,registry\n1,2,3\n")
    assert doctor.registry_finding(settings).level == "fail"


def test_who_holds_the_warehouse_is_named(settings: Settings) -> None:
    warehouse = settings.data.warehouse
    warehouse.parent.mkdir(parents=True)
    code = (
        f"import duckdb, time; con = duckdb.connect({str(warehouse)!r})\n"
        "con.execute('create table t (a int)'); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout
            writer.stdout.readline()
            working = doctor.warehouse_finding(warehouse)
            stuck = doctor.warehouse_finding(warehouse, longest_s=0)
        finally:
            writer.kill()
    assert (working.level, stuck.level) == ("ok", "warn")
    assert f"held by pid {writer.pid} " in working.message
    assert f"kill {writer.pid}" in stuck.advice
    assert "nobody" in doctor.warehouse_finding(warehouse).message


def test_an_edited_config_warns_and_a_broken_one_fails(settings: Settings) -> None:
    config = prepare_instance(settings) / "dagster.yaml"
    assert doctor.config_finding(settings).level == "ok"
    config.write_text("no_such_section: 1\n")
    assert doctor.config_finding(settings).level == "warn"
    [finding] = doctor.instance_findings(settings, None)
    assert (finding.check, finding.level) == ("dagster", "fail")
    assert "does not open" in finding.message


def test_failed_runs_warn_and_a_silent_daemon_fails_while_the_platform_runs(
    settings: Settings,
) -> None:
    home = prepare_instance(settings)

    def levels(running: int | None) -> dict[str, str]:
        return {
            finding.check: finding.level for finding in doctor.instance_findings(settings, running)
        }

    assert levels(None) == {"runs": "ok", "daemon": "ok"}
    assert levels(1) == {"runs": "ok", "daemon": "fail"}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        create_run_for_test(instance, "detect_sags", status=dg.DagsterRunStatus.FAILURE)
        instance.add_daemon_heartbeat(
            DaemonHeartbeat(time.time() - 10, "SCHEDULER", "one", errors=[])
        )
    assert levels(1) == {"runs": "warn", "daemon": "ok"}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_daemon_heartbeat(
            DaemonHeartbeat(time.time() - 300, "SCHEDULER", "one", errors=[])
        )
    assert levels(1)["daemon"] == "fail"


def test_a_silent_daemon_fails_beside_a_code_server_that_no_supervisor_started(
    settings: Settings,
) -> None:
    home = prepare_instance(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_daemon_heartbeat(
            DaemonHeartbeat(time.time() - 300, "SCHEDULER", "one", errors=[])
        )

    def level_beside(data_dir: Path) -> str:
        code = (
            "import socket, time\n"
            f"listener = socket.create_server(('127.0.0.1', {settings.code_server_port}))\n"
            "print('up', flush=True); time.sleep(60)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env={**os.environ, "AMI_DATA_DIR": str(data_dir)},
        ) as server:
            try:
                assert server.stdout
                server.stdout.readline()
                found = list(doctor.instance_findings(settings, None))
            finally:
                server.kill()
        return of(found, "daemon").level

    assert level_beside(settings.data_dir) == "fail"
    # Of another platform on this machine it says nothing.
    assert level_beside(settings.data_dir / "other") == "ok"


@pytest.fixture
def call(settings: Settings, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `ami doctor` with these settings."""
    environment = {
        **os.environ,
        "AMI_DATA_DIR": str(settings.data_dir),
        "AMI_PUBSUB_PORT": str(settings.pubsub_port),
        "AMI_DAGSTER_PORT": str(settings.dagster_port),
        "AMI_CODE_SERVER_PORT": str(settings.code_server_port),
        "AMI_API_PORT": str(settings.api_port),
        "AMI_DASHBOARD_PORT": str(settings.dashboard_port),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ami_cli.main", "doctor", *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_the_command_ends_with_1_when_something_fails(
    settings: Settings, call: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    well = call()
    assert well.returncode == 0, well.stderr
    assert "ok    port        " in well.stdout
    (settings.data.landing / "dt=yesterday" / "hr=noon").mkdir(parents=True)
    ill = call("--json")
    assert ill.returncode == 1
    [failed] = [each for each in json.loads(ill.stdout) if each["level"] == "fail"]
    assert failed["check"] == "lake"
    assert failed["advice"]
