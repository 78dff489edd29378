"""Benchmarks run over made-up measurements: reads values, checks summaries and failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.definition import (
    Benchmark,
    Context,
    Measurements,
    Metric,
    at_least,
    at_most,
    measured,
)
from benchmarks.runner import Outcome, run, summarise

RATE = Metric("a.rate", "readings/s", at_least(100), "A rate.")
SHARE = Metric("a.ratio", "ratio", at_most(0.5), "A ratio.")


def giving(*values: dict[str, float]) -> Callable[[Context], Measurements]:
    """A measurement that gives these values, then ends."""

    def measure(context: Context) -> Measurements:
        yield from values

    return measure


def run_it(
    benchmark: Benchmark,
    work: Path,
    *,
    runs: int | None = None,
    quick: bool = False,
    wanted: Callable[[str], bool] = lambda name: True,
) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    outcome = run(benchmark, wanted=wanted, runs=runs, quick=quick, work=work, report=lines.append)
    return outcome, lines


def test_the_value_is_the_median_beside_least_and_greatest() -> None:
    summary = summarise(RATE, [3.0, 100.0, 20.0, 1.0])
    assert (summary.value, summary.median) == (11.5, 11.5)
    assert (summary.min, summary.max, summary.runs) == (1.0, 100.0, 4)
    assert (summary.unit, summary.target, summary.direction) == ("readings/s", 100, "at_least")


def test_values_are_rounded_to_six_digits() -> None:
    assert summarise(RATE, [1_234_567.89]).value == 1_234_570


def test_a_benchmark_is_measured_as_often_as_it_says(tmp_path: Path) -> None:
    values = [{"a.rate": float(i)} for i in range(9)]
    outcome, lines = run_it(Benchmark((RATE,), 4, giving(*values)), tmp_path)
    assert outcome.results["a.rate"].runs == 4
    assert outcome.results["a.rate"].max == 3
    assert lines[-1] == "a.rate: run 4/4"


@pytest.mark.parametrize(("runs", "quick", "expected"), [(2, False, 2), (None, True, 1)])
def test_runs_can_be_chosen_and_quick_means_one(
    tmp_path: Path, runs: int | None, quick: bool, expected: int
) -> None:
    values = [{"a.rate": 1.0}] * 9
    outcome, _ = run_it(Benchmark((RATE,), 4, giving(*values)), tmp_path, runs=runs, quick=quick)
    assert outcome.results["a.rate"].runs == expected


def test_only_wanted_figures_are_reported(tmp_path: Path) -> None:
    both = {"a.rate": 1.0, "a.ratio": 2.0}
    outcome, _ = run_it(
        Benchmark((RATE, SHARE), 1, giving(both)), tmp_path, wanted=lambda name: name == "a.ratio"
    )
    assert set(outcome.results) == {"a.ratio"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "BenchmarkError: it gave 0 of 2 measurements"),
        ([{"a.rate": 1.0}], "BenchmarkError: it gave 1 of 2 measurements"),
        ([{"a.ratio": 1.0}], "BenchmarkError: it gave no value for a.rate"),
        ([{"a.rate": float("nan")}], "BenchmarkError: a.rate came out as nan"),
    ],
)
def test_incomplete_measurements_are_failures_with_their_reason(
    tmp_path: Path, values: list[dict[str, float]], reason: str
) -> None:
    outcome, lines = run_it(Benchmark((RATE,), 2, giving(*values)), tmp_path)
    assert outcome == Outcome(failures={"a.rate": reason})
    assert lines[-1] == f"a.rate: failed: {reason}"


def test_an_error_fails_all_figures_of_its_benchmark_and_releases_it(tmp_path: Path) -> None:
    released = []

    def measure(context: Context) -> Measurements:
        try:
            yield {"a.rate": 1.0, "a.ratio": 1.0}
            raise OSError("the disk is full")
        finally:
            released.append(True)

    outcome, _ = run_it(Benchmark((RATE, SHARE), 2, measure), tmp_path)
    assert not outcome.results
    assert set(outcome.failures.values()) == {"OSError: the disk is full"}
    assert set(outcome.failures) == {"a.rate", "a.ratio"}
    assert released


def test_the_work_folder_is_empty_and_goes_afterwards(tmp_path: Path) -> None:
    seen: list[Path] = []

    def measure(context: Context) -> Measurements:
        assert not list(context.work.iterdir())
        (context.work / "file").write_text("x")
        seen.append(context.work)
        while True:
            yield {"a.rate": 1.0}

    outcome, _ = run_it(Benchmark((RATE,), 2, measure), tmp_path / "not" / "there")
    assert outcome.results
    assert seen[0].is_relative_to(tmp_path)
    assert not seen[0].exists()


def test_a_declared_figure_is_never_given_a_value(tmp_path: Path) -> None:
    outcome, _ = run_it(Benchmark((RATE,)), tmp_path)
    assert not outcome.results


def test_measured_gives_result_and_times_of_an_action() -> None:
    result, cost = measured(lambda: sum(i * i for i in range(200_000)))
    assert result == 2_666_646_666_700_000
    assert cost.cpu_s > 0
    assert 0 < cost.wall_s < 30


def test_a_quick_measurement_may_leave_figures_out_and_a_whole_one_may_not(tmp_path: Path) -> None:
    some = Benchmark((RATE, SHARE), 1, giving({"a.rate": 1.0}))
    assert set(run_it(some, tmp_path, quick=True)[0].results) == {"a.rate"}
    whole = run_it(some, tmp_path)[0]
    assert whole.results == {}
    assert "it gave no value for a.ratio" in whole.failures["a.rate"]
