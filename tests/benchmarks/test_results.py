"""The results file: reads made-up outcomes, checks shape, merge and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ami_contract.errors import SettingsError
from benchmarks.definition import Benchmark, Metric, at_least, at_most
from benchmarks.results import Origin, load, merged, save
from benchmarks.runner import Outcome, summarise

FAST = Metric("x.fast", "readings/s", at_least(10), "Fast.")
SHORT = Metric("x.short_s", "s", at_most(2), "Short.")
LATER = Metric("x.later", "ratio", at_most(1.5), "Later.")
SUITE = [Benchmark((FAST, SHORT)), Benchmark((LATER,))]
FIRST = Origin(
    machine={"cpu": "One", "cores": 2, "memory_gib": 4.0, "os": "Linux", "filesystem": "ext4"},
    versions={"python": "3.11.7", "duckdb": "2.0.0"},
    commit="a" * 40,
    dirty=False,
    taken_at="2026-03-01T10:00:00Z",
    load_1m=0.1,
    quick=False,
)
SECOND = replace(FIRST, commit="b" * 40, dirty=True, taken_at="2026-03-02T10:00:00Z", quick=True)


def outcome_of(**values: float) -> Outcome:
    metrics = {"fast": FAST, "short": SHORT, "later": LATER}
    return Outcome({metrics[k].id: summarise(metrics[k], [v]) for k, v in values.items()})


def test_a_document_holds_origin_figures_and_what_is_missing() -> None:
    document = merged({}, outcome_of(fast=12.0), FIRST, SUITE)
    assert document["machine"]["cores"] == 2
    assert document["versions"]["duckdb"] == "2.0.0"
    assert (document["commit"], document["dirty"]) == ("a" * 40, False)
    assert document["taken_at"] == "2026-03-01T10:00:00Z"
    assert document["results"] == {
        "x.fast": {
            "value": 12.0,
            "unit": "readings/s",
            "min": 12.0,
            "median": 12.0,
            "max": 12.0,
            "runs": 1,
            "target": 10,
            "direction": "at_least",
            "quick": False,
            "commit": "a" * 40,
            "dirty": False,
            "taken_at": "2026-03-01T10:00:00Z",
        }
    }
    assert document["failures"] == {}
    assert document["not_measured"] == {
        "x.short_s": {"unit": "s", "target": 2, "direction": "at_most"},
        "x.later": {"unit": "ratio", "target": 1.5, "direction": "at_most"},
    }


def test_merging_keeps_other_figures_with_their_own_commit_in_the_suites_order() -> None:
    before = merged({}, outcome_of(fast=12.0, later=1.0), FIRST, SUITE)
    after = merged(before, outcome_of(short=1.0, later=1.2), SECOND, SUITE)
    assert list(after["results"]) == ["x.fast", "x.short_s", "x.later"]
    assert after["commit"] == "b" * 40
    assert after["results"]["x.fast"]["commit"] == "a" * 40
    assert after["results"]["x.fast"]["quick"] is False
    assert after["results"]["x.later"]["value"] == 1.2
    assert after["results"]["x.later"]["commit"] == "b" * 40
    assert after["results"]["x.later"]["quick"] is True
    assert after["not_measured"] == {}


def test_a_failure_takes_the_old_figure_out_and_a_new_figure_the_failure() -> None:
    before = merged({}, outcome_of(fast=12.0, short=1.0), FIRST, SUITE)
    failed = merged(before, Outcome(failures={"x.fast": "OSError: no"}), SECOND, SUITE)
    assert set(failed["results"]) == {"x.short_s"}
    assert failed["failures"] == {"x.fast": "OSError: no"}
    assert set(failed["not_measured"]) == {"x.later"}
    mended = merged(failed, outcome_of(fast=13.0), SECOND, SUITE)
    assert mended["failures"] == {}
    assert mended["results"]["x.fast"]["value"] == 13


def test_a_figure_that_is_no_longer_declared_goes() -> None:
    before = merged({}, outcome_of(fast=12.0, later=1.0), FIRST, SUITE)
    after = merged(before, Outcome(), FIRST, SUITE[1:])
    assert set(after["results"]) == {"x.later"}


def test_a_saved_document_is_read_back_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert load(path) == {}
    document = merged({}, outcome_of(fast=12.0), FIRST, SUITE)
    save(path, document)
    save(path, document)
    assert load(path) == json.loads(path.read_text()) == document
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}', '{"results": []}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"results\.json"):
        load(path)
