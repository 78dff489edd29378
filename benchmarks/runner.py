"""Reads benchmarks; gives the summary of every figure, or why a benchmark failed."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.definition import Benchmark, BenchmarkError, Context, Metric

_SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class Summary:
    """A figure over its runs.

    Attributes:
        value: the median; what is quoted.
        unit: of all values here.
        min, median, max: over the runs.
        runs: how many.
        target: what it should reach; None: nothing.
        direction: `at_least` or `at_most` that target.
    """

    value: float
    unit: str
    min: float
    median: float
    max: float
    runs: int
    target: float | None
    direction: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of one benchmark; an id stands in exactly one of the two.

    Attributes:
        results: summaries by id.
        failures: reasons by id.
    """

    results: dict[str, Summary] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def summarise(metric: Metric, values: Sequence[float]) -> Summary:
    """Summary of the values (at least one) of a metric, rounded to six significant digits."""
    median = _rounded(statistics.median(values))
    return Summary(
        value=median,
        unit=metric.unit,
        min=_rounded(min(values)),
        median=median,
        max=_rounded(max(values)),
        runs=len(values),
        target=metric.target.value if metric.target else None,
        direction=metric.target.direction.value if metric.target else None,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def run(
    benchmark: Benchmark,
    *,
    wanted: Callable[[str], bool],
    runs: int | None,
    quick: bool,
    work: Path,
    report: Callable[[str], None],
) -> Outcome:
    """Measure a benchmark; an error of its own ends in `failures` and nowhere else.

    Args:
        benchmark: with a `measure`.
        wanted: which of its ids are to be reported; at least one.
        runs: repetitions; None: its own number, or one when `quick`.
        quick: small input.
        work: folder on the disk to measure; a folder in it lives as long as the measurement.
        report: takes a line of progress.
    """
    metrics = [metric for metric in benchmark.metrics if wanted(metric.id)]
    count = runs or (1 if quick else benchmark.runs)
    more = f" and {len(metrics) - 3} more" if len(metrics) > 3 else ""
    label = ", ".join(metric.id for metric in metrics[:3]) + more
    measured: list[Mapping[str, float]] = []
    try:
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=work) as folder:
            report(f"{label}: preparing")
            for values in _measurements(benchmark, Context(quick, Path(folder)), count):
                if quick:
                    metrics = [metric for metric in metrics if metric.id in values]
                measured.append({metric.id: _value(values, metric) for metric in metrics})
                report(f"{label}: run {len(measured)}/{count}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        report(f"{label}: failed: {reason}")
        return Outcome(failures={metric.id: reason for metric in metrics})
    return Outcome(
        {metric.id: summarise(metric, [m[metric.id] for m in measured]) for metric in metrics}
    )


def _measurements(
    benchmark: Benchmark, context: Context, count: int
) -> Iterator[Mapping[str, float]]:
    if benchmark.measure is None:
        raise BenchmarkError("it is declared, not measured yet")
    taken = 0
    # A generator releases what it holds when it is closed, also after a failure.
    with closing(benchmark.measure(context)) as measurements:
        for values in islice(measurements, count):
            taken += 1
            yield values
    if taken < count:
        raise BenchmarkError(f"it gave {taken} of {count} measurements")


def _value(values: Mapping[str, float], metric: Metric) -> float:
    value = values.get(metric.id)
    if value is None:
        raise BenchmarkError(f"it gave no value for {metric.id}")
    if not math.isfinite(value):
        raise BenchmarkError(f"{metric.id} came out as {value}")
    return float(value)
