"""systemd units and compose file: what they start exists, what they set is a setting."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ami_cli.main import app
from ami_cli.platform_run import CODE_SERVER, DAEMON, WEBSERVER
from ami_contract.settings import Settings

INFRA = Path(__file__).resolve().parents[2] / "infra"
UNITS = sorted((INFRA / "systemd").glob("*.service"))
PARTS = {"pubsub", "ingest", "code-server", "webserver", "daemon", "api", "dashboard"}
SETTINGS = {f"AMI_{name.upper()}" for name in Settings.model_fields}
# https://github.com/compose-spec/compose-spec/blob/main/05-services.md
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image",
    "network_mode", "pid", "restart", "security_opt", "stop_grace_period", "volumes",
}  # fmt: skip


def unit(path: Path) -> ConfigParser:
    """A unit file; of a key that stands there twice, the last."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


def check_command(arguments: list[str]) -> None:
    """Fail unless `ami` has the command."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert arguments[0] in commands
    if arguments[0] == "dagster":
        assert arguments[1] in (CODE_SERVER, WEBSERVER, DAEMON)


def test_every_part_has_a_unit_that_starts_it_again_and_belongs_to_the_target() -> None:
    assert {path.stem.removeprefix("ami-") for path in UNITS} == PARTS
    for path in UNITS:
        found = unit(path)
        program, *arguments = found["Service"]["ExecStart"].split()
        assert program == "/opt/ami/.venv/bin/ami"
        check_command(arguments)
        assert arguments[-1] == path.stem.removeprefix("ami-")
        assert found["Service"]["Restart"] == "always"
        assert found["Service"]["EnvironmentFile"] == "/etc/ami/ami.env"
        assert found["Install"]["WantedBy"] == "ami.target"
        for other in re.findall(r"\bami\S*\.(?:service|target)", found["Unit"]["After"]):
            assert (INFRA / "systemd" / other).exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "ami"
    for path in [*UNITS, INFRA / "systemd" / "ami.target"]:
        text = path.read_text().replace("/opt/ami/.venv/bin/ami", str(program))
        (tmp_path / path.name).write_text(text)
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in told.stderr.splitlines() if "ami" in line]
    assert (told.returncode, about_ours) == (0, [])


def test_the_environment_file_names_settings_only() -> None:
    text = (INFRA / "systemd" / "ami.env.example").read_text()
    named = re.findall(r"^(?:# )?(AMI_\w+)=", text, re.MULTILINE)
    assert len(named) > 4
    assert set(named) <= SETTINGS


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file."""
    return yaml.safe_load((INFRA / "compose.yaml").read_text())


def test_the_compose_file_starts_every_part_beside_postgresql(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == PARTS | {"postgres"}
    assert {key for key in compose if not key.startswith("x-")} <= {"name", "services", "volumes"}
    for name, service in services.items():
        assert set(service) <= SERVICE_KEYS, name
        # Nothing listens beyond the machine's loopback: no bridge, no published port.
        assert service["network_mode"] == "host"
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]
        for other, condition in service.get("depends_on", {}).items():
            assert condition["condition"] in ("service_started", "service_healthy")
            assert condition["condition"] == "service_started" or "healthcheck" in services[other]
        if name != "postgres":
            check_command(service["command"])
            assert service["command"][-1] == name
            assert set(service["environment"]) <= SETTINGS
            Settings(
                _env_file=None,
                **{
                    key.removeprefix("AMI_").lower(): re.sub(r"\$\{[^}]*\}", "", str(value))
                    for key, value in service["environment"].items()
                },
            )
            assert (INFRA / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_who_monitors_runs_sees_their_processes(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["daemon"]["pid"] == services["code-server"]["pid"] == "host"


def test_the_image_starts_ami_with_the_database_driver() -> None:
    text = (INFRA / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["ami"]' in text
    assert ".[postgres]" in text
    for source in re.findall(r"^COPY (.+) \./$", text, re.MULTILINE)[0].split():
        assert (INFRA.parent / source).exists()
