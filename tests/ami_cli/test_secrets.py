"""No secret of the settings shows in what the platform prints, writes or starts."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from ami_cli.doctor import findings
from ami_cli.instance import prepare_instance
from ami_cli.platform_run import CODE_SERVER, DAEMON, WEBSERVER, dagster_command
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings, load_settings

MARK = "s3cr3t-of-this-test"
POSTGRES = f"postgresql+psycopg2://ami:{MARK}@127.0.0.1:1/dagster"
SECRETS = sorted(
    name for name, field in Settings.model_fields.items() if field.annotation is SecretStr
)


def with_secrets(folder: Path) -> Settings:
    """Settings in which every secret holds `MARK`."""
    values = {name: SecretStr(f"{MARK}-{name}") for name in SECRETS}
    values["dagster_postgres_url"] = SecretStr(POSTGRES)
    values["alert_webhook_url"] = SecretStr(f"http://127.0.0.1:1/{MARK}")
    return Settings(
        _env_file=None,
        data_dir=folder,
        alert_channels="webhook,email,slack",
        alert_slack_channel="#grid",
        alert_email_host="127.0.0.1",
        alert_email_port=1,
        alert_email_from="a@example.org",
        alert_email_to="b@example.org",
        **values,
    )


def test_the_secrets_are_those_that_a_person_would_name() -> None:
    telling = ("key", "token", "password", "secret")
    public = {"api_google_audience"}
    named = {name for name in Settings.model_fields if any(word in name for word in telling)}
    assert named - public <= {*SECRETS}


def test_settings_show_no_secret_in_any_form(tmp_path: Path) -> None:
    settings = with_secrets(tmp_path)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert MARK not in shown
    assert "**********" in shown


@pytest.mark.parametrize("name", SECRETS)
def test_a_refused_secret_is_not_repeated(name: str) -> None:
    for value in (f"{MARK}\n", [MARK], {"a": MARK}, f"ftp://{MARK}", "short"):
        try:
            load_settings(**{name: value})
        except SettingsError as error:
            said = str(error)
            assert MARK not in said
            assert "short" not in said.replace("shorter", "")


def test_the_doctor_and_the_files_of_an_instance_name_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_secrets(tmp_path)
    for name in ("DAGSTER_HOME", "AMI_DATA_DIR", "AMI_DAGSTER_POSTGRES_URL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda _seconds: None)
    with caplog.at_level(logging.DEBUG):
        prepare_instance(settings)
        told = " ".join(f"{each.message} {each.advice}" for each in findings(settings))
        commands = [dagster_command(part, settings) for part in (CODE_SERVER, WEBSERVER, DAEMON)]
    assert MARK not in told
    assert MARK not in caplog.text
    # Every user of the machine can read a command line.
    assert MARK not in str(commands)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert MARK.encode() not in path.read_bytes(), path
