"""Settings come from `AMI_…` variables and say in one line what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami_contract.errors import AmiError, ReadingRejected, RejectionCode, SettingsError
from ami_contract.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_are_a_local_run_below_the_working_directory(tmp_path: Path) -> None:
    settings = load_settings()

    assert settings.profile == "local"
    assert settings.data_dir == tmp_path / ".ami"
    assert settings.emulator_host == "127.0.0.1:8085"
    assert settings.data.landing == tmp_path / ".ami" / "landing"


def test_variables_override_the_file_and_arguments_override_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("AMI_PUBSUB_PORT=9001\nAMI_DAGSTER_PORT=9002\n")
    monkeypatch.setenv("AMI_DAGSTER_PORT", "9003")

    settings = load_settings(ingest_max_messages=7)

    assert (settings.pubsub_port, settings.dagster_port) == (9001, 9003)
    assert settings.ingest_max_messages == 7


@pytest.mark.parametrize("name", ["AMI_PUBSUB_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"])
def test_another_emulator_replaces_the_embedded_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "127.0.0.1:8432")

    assert load_settings().emulator_host == "127.0.0.1:8432"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AMI_PROFILE", "azure"),
        ("AMI_PUBSUB_PORT", "0"),
        ("AMI_PUBSUB_PORT", "eight"),
        ("AMI_DAGSTER_PORT", "65536"),
        ("AMI_INGEST_MAX_MESSAGES", "0"),
        ("AMI_INGEST_MAX_MESSAGES", "1.5"),
        ("AMI_INGEST_MAX_BYTES", "12"),
        ("AMI_INGEST_MAX_WAIT_S", "0"),
        ("AMI_INGEST_MAX_WAIT_S", "61"),
        ("AMI_MAX_PAYLOAD_BYTES", "-1"),
        ("AMI_REMOVAL_GRACE_S", "-0.1"),
        ("AMI_REMOVAL_GRACE_S", "soon\nor later"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    message = str(caught.value)
    assert message.startswith(f"{name}={value!r}: ")
    assert "\n" not in message


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_PUBSUB_PORT", "")

    assert load_settings().pubsub_port == 8085


def test_settings_cannot_be_changed_after_they_were_built() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().pubsub_port = 1  # type: ignore[misc]


def test_every_setting_has_a_description() -> None:
    assert all(info.description for info in Settings.model_fields.values())


def test_a_rejection_is_of_the_family_and_names_code_field_and_value() -> None:
    error = ReadingRejected(RejectionCode.OUT_OF_RANGE, "voltage_v", "1200 is outside 0 … 1000 V")

    assert isinstance(error, AmiError)
    assert str(error) == "out_of_range: voltage_v: 1200 is outside 0 … 1000 V"
