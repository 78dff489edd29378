"""The figures of docs/reliability.md are those of the last runs, and every test it names exists."""

from __future__ import annotations

import re

from tests.reliability_page import PAGE, ROOT, rendered

TEXT = PAGE.read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_reports() -> None:
    assert rendered(TEXT) == TEXT
    assert "injected, " in TEXT


def test_every_test_it_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).is_file()] == []
