"""What `docs/plan-coverage.md` names exists."""

from __future__ import annotations

import re

import pytest
from markdown_pages import ROOT, read

TEXT = read(ROOT / "docs/plan-coverage.md")
PATHS = sorted(set(re.findall(r"`((?!roles/)[\w./-]+/[\w.-]+\.\w+)`", TEXT)))


@pytest.mark.parametrize("path", PATHS)
def test_path_exists(path: str) -> None:
    assert (ROOT / path).is_file()


def test_every_section_of_the_plan_has_a_table() -> None:
    sections = re.findall(r"^## (\d+) ", TEXT, re.MULTILINE)

    assert [int(section) for section in sections] == list(range(3, 13))


def test_every_row_says_where() -> None:
    rows = re.findall(r"^\| (?!item|-)(.+?) \| (.+?) \|$", TEXT, re.MULTILINE)

    assert len(rows) > 60
    assert [row for row in rows if not re.search(r"`|\]\(", row[1])] == []


def test_names_in_configs_and_code_are_the_plans() -> None:
    config = (ROOT / "simulator/config.py").read_text(encoding="utf-8")
    options = (ROOT / "beam_jobs/options.py").read_text(encoding="utf-8")
    keys = "sample_hz publish_mode network_profile jitter_ms_range drop_prob reorder_prob"
    keys += " voltage_nominal voltage_sag_prob voltage_sag_depth pubsub_topic"
    flags = "input_subscription output_bq_table raw_archive_bucket raw_archive_prefix"
    flags += " dlq_topic window_seconds"

    assert [key for key in keys.split() if f"    {key}:" not in config] == []
    assert [flag for flag in flags.split() if f'"--{flag}"' not in options] == []
