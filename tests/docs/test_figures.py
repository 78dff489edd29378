"""Figures of speed, latency and memory in the documentation: each is measured, and as measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import PAGE, RESULTS, ROOT
from benchmarks.claims import in_step, pages, quoted, unsourced
from benchmarks.plots import pictures
from benchmarks.report import render
from benchmarks.results import load
from benchmarks.suite import BENCHMARKS

DOCUMENT = load(RESULTS)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(ROOT), ids=_name)
def test_quoted_figures_are_those_that_were_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    differ = [q for q in quoted(text, DOCUMENT) if q.text != q.renewed]

    assert differ == [], "run: python -m benchmarks --render"
    assert in_step(text, DOCUMENT) == text


@pytest.mark.parametrize("page", pages(ROOT), ids=_name)
def test_every_figure_of_speed_latency_or_memory_names_its_source(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert unsourced(text, ROOT) == [], (
        "mark it <!-- bench:ID --> or <!-- from: FILE -->, see benchmarks/claims.py"
    )


def test_the_page_of_benchmarks_and_its_pictures_are_made_of_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(DOCUMENT, BENCHMARKS), (
        "run: python -m benchmarks --render"
    )
    drawn = pictures(DOCUMENT)
    assert {name for name in drawn if (PAGE.parent / "img" / name).exists()} == set(drawn)
