"""docs/alerts.md tells of every kind of alert, setting and channel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ami_contract.settings import ALERT_CHANNELS, Settings
from ami_dagster.alerts.kinds import HEADLINES, AlertKind

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[2]
    for match in re.finditer(r"^### `(\w+)`.*?\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def test_every_kind_of_alert_has_its_section_and_no_other_is_told_of() -> None:
    assert set(SECTIONS) == set(AlertKind)
    assert set(HEADLINES) == set(AlertKind)


@pytest.mark.parametrize("kind", AlertKind)
def test_a_section_says_what_an_alert_means_and_what_to_do(kind: AlertKind) -> None:
    assert HEADLINES[kind] in SECTIONS[kind]
    assert "**Means**" in SECTIONS[kind]
    assert "**Do**" in SECTIONS[kind]


def test_every_setting_and_channel_is_named() -> None:
    settings = [
        f"AMI_{name.upper()}"
        for name in Settings.model_fields
        if name.startswith(("alert_", "silent_", "arrival_"))
    ]
    assert [name for name in settings if name not in PAGE] == []
    assert [name for name in ALERT_CHANNELS if f"`{name}`" not in PAGE] == []
