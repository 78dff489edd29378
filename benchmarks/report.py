"""Reads a results document; gives the page `docs/benchmarks.md` and lines for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.definition import Benchmark, Direction, Metric, Target
from benchmarks.results import Document

NOT_MEASURED: Final = "not measured yet"


@dataclass(frozen=True)
class Plot:
    """A picture of growth curves.

    Attributes:
        file: its name in `docs/img`.
        caption: what it shows.
        curves: that it shows, as far as they were measured.
    """

    file: str
    caption: str
    curves: tuple[str, ...]


PLOTS: Final = (
    Plot(
        "bench-growth.svg",
        "CPU time and peak memory of each hop by readings",
        ("generate", "ingest", "compact", "sag"),
    ),
    Plot(
        "bench-sags.svg",
        "The same for sag detection, beside what a user would pick instead",
        ("sag", "sag_duckdb", "sag_clickhouse", "sag_polars", "sag_pandas"),
    ),
)

_COLUMNS: Final = ("id", "value", "range", "unit", "target", "met")
_GROWTH_ID: Final = re.compile(r"growth\.(?P<curve>\w+)\.1e(?P<power>\d+)\.(?P<quantity>\w+)")
_QUANTITIES: Final = ("wall_s", "cpu_s", "memory_bytes")
_BESIDE_COLUMNS: Final = ("what", "wall time (s)", "CPU time (s)", "peak memory (MB)")

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
- **CPU time** is that of all threads of the process that does the work. A peer that uses both
  cores has a wall time of half of it; prefer CPU time to compare.
- **Peak memory** is the resident memory of a process that does this and nothing else, Python and
  its packages included.
- `not measured yet` marks a figure that is declared with its target and has no benchmark so far.

Measure again with `make bench`, or some of it with
`.venv/bin/python -m benchmarks --only 'ingest.*'`; `--list` names everything. `make bench-quick`
measures a part of it on small inputs in a few minutes, writes `.cache/bench-quick.json` and leaves
this page alone; such figures are smoke tests and are marked as such.

Peers (`benchmarks/peers/`) run in an environment of their own (`peers.lock`, 1.1 GB), which the
first run makes in `.cache/`. A peer's time counts only when it gave the same events, readings or
figures as the platform; a benchmark whose sides differ fails.
"""


def shown_number(value: float) -> str:
    """`value` for people: whole from 100 on, else three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shown_target(target: float, direction: str) -> str:
    """`≥ 250,000` or `≤ 120`."""
    sign = "≥" if direction == Direction.AT_LEAST else "≤"
    return f"{sign} {shown_number(target)}"


@dataclass(frozen=True)
class Point:
    """One point of a growth curve.

    Attributes:
        readings: size of the input; a power of ten, within a tenth.
        wall_s, cpu_s: time (s).
        memory_bytes: peak resident memory (bytes).
    """

    readings: int
    wall_s: float
    cpu_s: float
    memory_bytes: float


def growth_curves(document: Document) -> dict[str, list[Point]]:
    """Points of every growth curve that was measured, by curve, smallest first."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for name, result in document.get("results", {}).items():
        if match := _GROWTH_ID.fullmatch(name):
            sizes = found.setdefault(match["curve"], {})
            sizes.setdefault(10 ** int(match["power"]), {})[match["quantity"]] = result["value"]
    return {
        curve: [Point(size, **sizes[size]) for size in sorted(sizes)]
        for curve, sizes in found.items()
    }


def is_met(result: dict[str, Any]) -> bool:
    """Whether a result of a document reaches the target it carries; without one it does."""
    if result["target"] is None:
        return True
    return Target(Direction(result["direction"]), result["target"]).is_met(result["value"])


def table_rows(document: Document, benchmarks: Iterable[Benchmark]) -> list[tuple[str, ...]]:
    """One row per declared figure: id, value, range, unit, target, met."""
    return [_row(document, metric) for benchmark in benchmarks for metric in benchmark.metrics]


def main_rows(document: Document, benchmarks: Iterable[Benchmark]) -> list[tuple[str, ...]]:
    """`table_rows` without points of growth curves and times that stand beside each other."""
    return [
        _row(document, metric)
        for benchmark in benchmarks
        for metric in benchmark.metrics
        if metric.target or not (_GROWTH_ID.fullmatch(metric.id) or _quantity(metric.id))
    ]


def _quantity(name: str) -> str | None:
    quantity = name.rpartition(".")[2]
    return quantity if quantity in _QUANTITIES else None


def beside_rows(document: Document) -> list[tuple[str, ...]]:
    """One row per task whose wall time, CPU time and peak memory were measured together."""
    found: dict[str, dict[str, float]] = {}
    for name, result in document.get("results", {}).items():
        subject, _, quantity = name.rpartition(".")
        if quantity in _QUANTITIES and not _GROWTH_ID.fullmatch(name):
            found.setdefault(subject, {})[quantity] = result["value"]
    return [
        _cost_row(f"`{subject}`", **costs) for subject, costs in found.items() if len(costs) > 1
    ]


def growth_rows(document: Document) -> list[tuple[str, ...]]:
    """One row per point of every growth curve."""
    return [
        (curve, *_cost_row(f"{p.readings:,}", p.wall_s, p.cpu_s, p.memory_bytes))
        for curve, points in growth_curves(document).items()
        for p in points
    ]


def _cost_row(
    what: str, wall_s: float | None = None, cpu_s: float | None = None,
    memory_bytes: float | None = None,
) -> tuple[str, ...]:  # fmt: skip
    memory_mb = None if memory_bytes is None else memory_bytes / 1e6
    return (what, *("" if x is None else shown_number(x) for x in (wall_s, cpu_s, memory_mb)))


def _row(document: Document, metric: Metric) -> tuple[str, ...]:
    target = shown_target(metric.target.value, metric.target.direction) if metric.target else ""
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
        *(
            ("", "")
            if result["target"] is None
            else (
                shown_target(result["target"], result["direction"]),
                "yes" if is_met(result) else "no",
            )
        ),
    )


def text_table(rows: Sequence[Sequence[str]], columns: Sequence[str] = _COLUMNS) -> str:
    """`rows` below their headings, in columns of equal width."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
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
        _markdown_table(
            [(f"`{name}`", *rest) for name, *rest in main_rows(document, benchmarks)],
            _COLUMNS,
            "|---|--:|--:|---|--:|---|",
        ),
        _notes(document),
        _beside(document),
        _growth(document),
        _HOW_TO_READ,
        "## What is measured\n",
        "\n".join(
            f"- `{metric.id}` ({metric.unit}): {metric.description}"
            for benchmark in benchmarks
            for metric in benchmark.metrics
            if not _GROWTH_ID.fullmatch(metric.id)
        )
        + "\n",
    ]
    return "\n".join(part for part in parts if part)


def _markdown_table(rows: Sequence[Sequence[str]], columns: Sequence[str], rule: str) -> str:
    lines = ["| " + " | ".join(columns) + " |", rule]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _beside(document: Document) -> str:
    """Time and memory of tasks, peers and limits, side by side."""
    rows = beside_rows(document)
    if not rows:
        return ""
    table = _markdown_table(rows, _BESIDE_COLUMNS, "|---|--:|--:|--:|")
    return f"## Time and memory, side by side\n\n{table}"


def _growth(document: Document) -> str:
    """Pictures and table of the growth curves."""
    rows = growth_rows(document)
    if not rows:
        return ""
    curves = growth_curves(document)
    pictures = "\n\n".join(
        f"![{plot.caption}](img/{plot.file})" for plot in PLOTS if curves.keys() & {*plot.curves}
    )
    columns = ("curve", "readings", *_BESIDE_COLUMNS[1:])
    table = _markdown_table(rows, columns, "|---|--:|--:|--:|--:|")
    return (
        "## How it grows\n\nEvery point is a process of its own. Lines of slope one cost the same "
        "per reading; what is flat on the left is the cost of starting.\n\n"
        f"{pictures}\n\n{table}"
    )


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
    """Failures, and figures that are older than the head of the document, by when they are from."""
    lines = [
        f"- `{name}` failed: {' '.join(reason.split())}"
        for name, reason in document.get("failures", {}).items()
    ]
    older: dict[str, list[str]] = {}
    for name, result in document.get("results", {}).items():
        if (result["commit"], result["taken_at"]) != (document["commit"], document["taken_at"]):
            older.setdefault(_when(result), []).append(name)
    lines += [
        f"- measured {when}: {', '.join(f'`{name}`' for name in _grouped(names))}"
        for when, names in older.items()
    ]
    return "\n".join(lines) + "\n" if lines else ""


def _grouped(names: Iterable[str]) -> list[str]:
    """`names`, the points of a growth curve as one."""
    curves = (
        f"growth.{match['curve']}.*" if (match := _GROWTH_ID.fullmatch(name)) else name
        for name in names
    )
    return list(dict.fromkeys(curves))
