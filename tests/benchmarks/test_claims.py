"""Quoted figures: reads made-up pages and results, checks what is found, renewed and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ami_contract.errors import SettingsError
from benchmarks.claims import in_step, like, quoted, unsourced

DOCUMENT: dict[str, Any] = {
    "results": {
        "x.rate": {"value": 271_234.0, "unit": "readings/s"},
        "x.wait_s": {"value": 0.0642, "unit": "s"},
        "x.memory_bytes": {"value": 731_795_000.0, "unit": "bytes"},
        "x.ratio": {"value": 9.08, "unit": "ratio"},
        "x.share": {"value": 0.0273, "unit": "share"},
    }
}


@pytest.mark.parametrize(
    ("text", "renewed"),
    [
        (
            "about 268 000 JSON readings per second <!-- bench:x.rate --> on two cores",
            "about 271 000 JSON readings per second <!-- bench:x.rate --> on two cores",
        ),
        ("1,234,567 readings/s <!-- bench:x.rate -->", "271,234 readings/s <!-- bench:x.rate -->"),
        ("0.3 million/s <!-- bench:x.rate -->", "0.27 million/s <!-- bench:x.rate -->"),
        ("60 ms of CPU <!-- bench:x.wait_s -->", "64 ms of CPU <!-- bench:x.wait_s -->"),
        ("0.1 s <!-- bench:x.wait_s -->", "0.064 s <!-- bench:x.wait_s -->"),
        ("0.9 GB <!-- bench:x.memory_bytes -->", "0.73 GB <!-- bench:x.memory_bytes -->"),
        ("10.0 times <!-- bench:x.ratio -->", "9.08 times <!-- bench:x.ratio -->"),
        ("2.0 % <!-- bench:x.share -->", "2.7 % <!-- bench:x.share -->"),
    ],
)  # fmt: skip
def test_a_number_is_renewed_in_its_unit_with_its_digits(text: str, renewed: str) -> None:
    assert in_step(text, DOCUMENT) == renewed
    assert in_step(renewed, DOCUMENT) == renewed


def test_text_without_marks_is_left_alone() -> None:
    text = "Retries wait 10 s, then 20 s <!-- a note -->."
    assert in_step(text, DOCUMENT) == text
    assert list(quoted(text, DOCUMENT)) == []


def test_two_figures_in_a_line_are_two() -> None:
    text = "5 ms <!-- bench:x.wait_s --> at 100 readings/s <!-- bench:x.rate -->"
    assert [(q.id, q.text, q.renewed) for q in quoted(text, DOCUMENT)] == [
        ("x.wait_s", "5", "64"),
        ("x.rate", "100", "270000"),
    ]


def test_a_figure_that_was_not_measured_may_not_be_quoted() -> None:
    with pytest.raises(SettingsError, match=r"x\.gone is quoted .* was not measured"):
        in_step("5 s <!-- bench:x.gone -->", DOCUMENT)


def test_a_mark_behind_no_number_is_refused() -> None:
    with pytest.raises(SettingsError, match="stands behind no number"):
        list(quoted("fast <!-- bench:x.rate -->", DOCUMENT))


@pytest.mark.parametrize(
    ("pattern", "value", "text"),
    [("930,000", 928_952, "930,000"), ("5", 5.04, "5.0"), ("52", 52.22, "52"), ("11", 9.96, "10")],
)
def test_a_number_keeps_its_look(pattern: str, value: float, text: str) -> None:
    assert like(pattern, value) == text


@pytest.mark.parametrize(
    "claim",
    [
        "It stores 268 000 JSON readings per second.",
        "| ingest | 1.2 M readings/s |",
        "It takes about 105 s of CPU.",
        "An event costs 4 ms instead of 50.",
        "Building costs 12 s.",
        "Until then 0.9 GB of memory.",
        "Measured at a load average of 7.",
        "Readings land within 1.1 s at the 95th percentile.",
    ],
)
def test_a_claim_needs_a_source(tmp_path: Path, claim: str) -> None:
    (tmp_path / "measure.py").touch()
    assert unsourced(claim, tmp_path) == [claim]
    assert unsourced(f"{claim} <!-- from: measure.py -->", tmp_path) == []
    assert unsourced(f"{claim} <!-- from: gone.py -->", tmp_path) != []


def test_a_marked_figure_covers_itself_and_no_other(tmp_path: Path) -> None:
    marked = "268 000 readings/s <!-- bench:x.rate -->"
    assert unsourced(marked, tmp_path) == []
    assert len(unsourced(f"{marked}, then 5 000 messages/s", tmp_path)) == 1


@pytest.mark.parametrize(
    "setting",
    ["It tries again after 10 s.", "`AMI_SILENT_WARN_S` | 600 s", "at most 256 MB of text", "10 m"],
)
def test_settings_and_limits_are_no_claims(tmp_path: Path, setting: str) -> None:
    assert unsourced(setting, tmp_path) == []
