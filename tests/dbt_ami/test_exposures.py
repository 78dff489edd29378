"""The exposures name what their readers read."""

from __future__ import annotations

from pathlib import Path

import yaml

MODELS = Path(__file__).parents[2] / "dbt_ami" / "models"


def test_every_mart_and_the_readings_can_be_exported() -> None:
    document = yaml.safe_load((MODELS / "exposures.yml").read_text())
    [exports] = [each for each in document["exposures"] if each["name"] == "exports"]
    marts = {path.stem for path in (MODELS / "marts").rglob("*.sql")}
    assert set(exports["depends_on"]) == {f"ref('{name}')" for name in {"readings", *marts}}
