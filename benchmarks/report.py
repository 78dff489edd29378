"""Reads a results document; gives the page `docs/benchmarks.md` and lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from benchmarks.definition import Benchmark, Direction, Metric, Target
from benchmarks.results import Document

NOT_MEASURED: Final = "not measured yet"
_COLUMNS: Final = ("id", "value", "range", "unit", "target", "met")

_HOW_TO_READ: Final = """\
## How to read it

- **value** is the median of the runs, **range** the smallest and largest of them. A wide range
  means that something else ran on the machine; prefer the ratios then.
- **met** compares the value with the target as written. A missed target does not fail
  `make bench`; a benchmark that breaks does, and shows its reason here.
- **ratio** figures come from one process and one run, both sides in turn on the same readings, so
  they carry over to other machines better than rates do.
- Rates of `generate.*` are per second of CPU time: what one core does. Rates of `ingest.*` are per
  second of wall time with all cores of the machine.
- `not measured yet` marks a figure that is declared with its target and has no benchmark so far.

Measure again with `make bench`, or some of it with
`.venv/bin/python -m benchmarks --only 'ingest.*'`; `--list` names everything. Figures taken with
`--quick` are smoke tests on small inputs and are marked as such.
"""


def shown_number(value: float) -> str:
    """`value` for people: whole from 100 on, else three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shown_target(target: float, direction: str) -> str:
    """`≥ 250,000` or `≤ 120`."""
    sign = "≥" if direction == Direction.AT_LEAST else "≤"
    return f"{sign} {shown_number(target)}"


def is_met(result: dict[str, Any]) -> bool:
    """Whether a result of a document reaches the target it carries."""
    return Target(Direction(result["direction"]), result["target"]).is_met(result["value"])


def table_rows(document: Document, benchmarks: Iterable[Benchmark]) -> list[tuple[str, ...]]:
    """One row per declared figure: id, value, range, unit, target, met."""
    return [_row(document, metric) for benchmark in benchmarks for metric in benchmark.metrics]


def _row(document: Document, metric: Metric) -> tuple[str, ...]:
    target = shown_target(metric.target.value, metric.target.direction)
    result = document.get("results", {}).get(metric.id)
    if result is None:
        state = "failed" if metric.id in document.get("failures", {}) else NOT_MEASURED
        return (metric.id, state, "", metric.unit, target, "")
    runs = "1 run" if result["runs"] == 1 else f"{result['runs']} runs"
    return (
        metric.id,
        shown_number(result["value"]) + (" (quick)" if result["quick"] else ""),
        f"{shown_number(result['min'])} – {shown_number(result['max'])} ({runs})",
        result["unit"],
        shown_target(result["target"], result["direction"]),
        "yes" if is_met(result) else "no",
    )


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """`rows` below their headings, in columns of equal width."""
    lines = [_COLUMNS, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def render(document: Document, benchmarks: Sequence[Benchmark]) -> str:
    """The page, in Markdown."""
    parts = [
        "# Benchmarks\n",
        "Made by `python -m benchmarks` from `benchmarks/results.json`; edits are overwritten.\n",
        _surroundings(document),
        _markdown_table(table_rows(document, benchmarks)),
        _notes(document),
        _HOW_TO_READ,
        "## What is measured\n",
        "\n".join(
            f"- `{metric.id}` ({metric.unit}): {metric.description}"
            for benchmark in benchmarks
            for metric in benchmark.metrics
        )
        + "\n",
    ]
    return "\n".join(part for part in parts if part)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---|--:|--:|---|--:|---|"]
    lines += [f"| `{row[0]}` | " + " | ".join(row[1:]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _surroundings(document: Document) -> str:
    if "machine" not in document:
        return "Nothing has been measured yet.\n"
    machine = document["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return (
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['os']}, {machine['filesystem']}; load average at the start "
        f"{document['load_1m']}\n"
        f"- versions: {packages}\n"
        f"- last measured: {_when(document)}\n"
    )


def _when(stamp: dict[str, Any]) -> str:
    changed = " with uncommitted changes" if stamp["dirty"] else ""
    return f"{stamp['taken_at']}, commit `{stamp['commit'][:12]}`{changed}"


def _notes(document: Document) -> str:
    """Failures, and figures that are older than the head of the document."""
    lines = [
        f"- `{name}` failed: {' '.join(reason.split())}"
        for name, reason in document.get("failures", {}).items()
    ]
    lines += [
        f"- `{name}` was measured {_when(result)}"
        for name, result in document.get("results", {}).items()
        if (result["commit"], result["taken_at"]) != (document["commit"], document["taken_at"])
    ]
    return "\n".join(lines) + "\n" if lines else ""
