"""A data folder's dagster.yaml follows the template until somebody edits it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from ami_cli import instance
from ami_cli.instance import (
    copy_state,
    instance_environment,
    prepare_instance,
    template_text,
    write_workspace,
)
from ami_contract.errors import LakeError, SettingsError
from ami_contract.settings import Settings, load_settings

POSTGRES = "postgresql+psycopg2://ami:secret@db/dagster"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty data folder; the environment is put back afterwards."""
    found = Settings(data_dir=tmp_path / "data", _env_file=None)
    for name, value in instance_environment(found).items():
        monkeypatch.setenv(name, value)
    return found


def template(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Make `text` the local template."""
    path = tmp_path / "template.yaml"
    path.write_text(text)
    monkeypatch.setattr(instance, "LOCAL_TEMPLATE", path)


def test_an_untouched_copy_is_replaced_when_the_template_changes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copy_state(settings) == "absent"
    template(monkeypatch, tmp_path, "one: 1\n")
    copy = prepare_instance(settings) / "dagster.yaml"
    assert copy.read_text() == "one: 1\n"
    template(monkeypatch, tmp_path, "two: 2\n")
    assert copy_state(settings) == "outdated"
    prepare_instance(settings)
    assert (copy.read_text(), copy_state(settings)) == ("two: 2\n", "current")


def test_an_edited_copy_is_kept(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template(monkeypatch, tmp_path, "one: 1\n")
    copy = prepare_instance(settings) / "dagster.yaml"
    copy.write_text("mine: 1\n")
    for text in ("one: 1\n", "two: 2\n"):
        template(monkeypatch, tmp_path, text)
        prepare_instance(settings)
        assert (copy.read_text(), copy_state(settings)) == ("mine: 1\n", "edited")


def test_a_copy_that_was_replaced_but_not_recorded_before_a_kill_still_follows(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template(monkeypatch, tmp_path, "one: 1\n")
    copy = prepare_instance(settings) / "dagster.yaml"
    template(monkeypatch, tmp_path, "two: 2\n")
    copy.write_text("two: 2\n")
    prepare_instance(settings)
    template(monkeypatch, tmp_path, "three: 3\n")
    prepare_instance(settings)
    assert copy.read_text() == "three: 3\n"


def test_a_copy_from_before_there_were_records_is_replaced(settings: Settings) -> None:
    home = settings.data.dagster_home
    home.mkdir(parents=True)
    old = """\
telemetry:
  enabled: false
"""
    (home / "dagster.yaml").write_text(old)
    assert copy_state(settings) == "edited"  # it never was a template
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "_UNRECORDED", {instance.sha256(old.encode()).hexdigest()})
        assert copy_state(settings) == "outdated"


def test_postgresql_takes_the_production_template_and_a_bucket_its_logs(
    settings: Settings,
) -> None:
    local = yaml.safe_load(template_text(settings))
    postgres = settings.model_copy(update={"dagster_postgres_url": SecretStr(POSTGRES)})
    bare = yaml.safe_load(template_text(postgres))
    full = yaml.safe_load(template_text(postgres.model_copy(update={"dagster_log_bucket": "logs"})))
    assert bare["storage"] == {"postgres": {"postgres_url": {"env": "AMI_DAGSTER_POSTGRES_URL"}}}
    assert "compute_logs" not in bare
    assert full.pop("compute_logs")["class"] == "GCSComputeLogManager"
    assert full == bare
    # What guards runs is the same on a laptop and on a server.
    shared = {"run_launcher", "run_coordinator", "concurrency", "run_monitoring", "run_retries"}
    assert {key: local[key] for key in shared} == {key: bare[key] for key in shared}


def test_a_url_without_its_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_DAGSTER_POSTGRES_URL", "postgresql://ami:secret@db/dagster")
    with pytest.raises(SettingsError, match=r"postgresql\+psycopg2") as told:
        load_settings()
    assert "AMI_DAGSTER_POSTGRES_URL" in str(told.value)
    assert "secret" not in str(told.value)


def test_ui_and_daemon_are_pointed_to_the_code_server(settings: Settings) -> None:
    path = write_workspace(settings.model_copy(update={"code_server_port": 4321}))
    [location] = yaml.safe_load(path.read_text())["load_from"]
    assert location == {"grpc_server": {"host": "127.0.0.1", "port": 4321, "location_name": "ami"}}


@pytest.mark.parametrize("name", [".", "landing", "warehouse", "registry", "logs"])
def test_a_file_where_a_folder_belongs_is_named(settings: Settings, name: str) -> None:
    place = settings.data_dir / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no folder")
    with pytest.raises(LakeError, match=f"{place} is a file where a folder belongs; move it away"):
        prepare_instance(settings)
    assert not settings.data.dagster_home.exists()
