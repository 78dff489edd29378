"""The page: reads a made-up document, checks what a person finds on it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.definition import Benchmark, Metric, at_least, at_most
from benchmarks.plots import pictures
from benchmarks.report import (
    PLOTS,
    Point,
    beside_rows,
    growth_curves,
    render,
    shown_number,
    table_rows,
    text_table,
)

SUITE = [
    Benchmark(
        (
            Metric("x.fast", "readings/s", at_least(250_000), "How fast."),
            Metric("x.ratio", "ratio", at_most(1.5), "How much slower."),
        )
    ),
    Benchmark((Metric("x.broken", "s", at_most(5), "Breaks."),)),
    Benchmark((Metric("x.later", "ms", at_most(50), "Later."),)),
]


def result(value: float, target: float, direction: str, **more: Any) -> dict[str, Any]:
    return {
        "value": value,
        "unit": "readings/s" if target > 2 else "ratio",
        "min": value / 2,
        "median": value,
        "max": value * 2,
        "runs": 5,
        "target": target,
        "direction": direction,
        "quick": False,
        "commit": "a" * 40,
        "dirty": False,
        "taken_at": "2026-03-01T10:00:00Z",
    } | more


def cost(value: float) -> dict[str, Any]:
    """A figure without a target."""
    return result(value, 3, "at_most") | {"target": None, "direction": None}


COSTS = {
    f"{subject}.{quantity}": cost(value * scale)
    for subject, scale in (("do.it", 1), ("growth.sag.1e5", 2), ("growth.sag.1e4", 1))
    for quantity, value in (("wall_s", 1.25), ("cpu_s", 2.5), ("memory_bytes", 250e6))
}
COSTS_SUITE = [
    *SUITE,
    *(Benchmark((Metric(name, "s", None, f"{name} described."),)) for name in COSTS),
]


def a_document(**changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": {
            "cpu": "One",
            "cores": 2,
            "memory_gib": 4.0,
            "os": "Linux",
            "filesystem": "ext4",
        },
        "versions": {"python": "3.11.7", "duckdb": "2.0.0"},
        "commit": "a" * 40,
        "dirty": False,
        "taken_at": "2026-03-01T10:00:00Z",
        "load_1m": 0.3,
        "results": {
            "x.fast": result(312_345.6, 250_000, "at_least"),
            "x.ratio": result(1.6, 1.5, "at_most"),
        }
        | changes,
        "failures": {"x.broken": "OSError: the disk\nis full"},
        "not_measured": {"x.later": {"unit": "ms", "target": 50, "direction": "at_most"}},
    }


def test_every_declared_figure_has_its_line() -> None:
    page = render(a_document(), SUITE)
    assert [line for line in page.splitlines() if line.startswith("| `")] == [
        "| `x.fast` | 312,346 | 156,173 – 624,691 (5 runs) | readings/s | ≥ 250,000 | yes |",
        "| `x.ratio` | 1.6 | 0.8 – 3.2 (5 runs) | ratio | ≤ 1.5 | no |",
        "| `x.broken` | failed |  | s | ≤ 5 |  |",
        "| `x.later` | not measured yet |  | ms | ≤ 50 |  |",
    ]


def test_the_page_says_where_and_from_what_the_figures_are() -> None:
    page = render(a_document(), SUITE)
    assert "One, 2 cores, 4.0 GiB, Linux, ext4; load average at the start 0.3" in page
    assert "python 3.11.7, duckdb 2.0.0" in page
    assert "2026-03-01T10:00:00Z, commit `aaaaaaaaaaaa`\n" in page
    assert "- `x.broken` failed: OSError: the disk is full" in page
    assert "- `x.fast` (readings/s): How fast." in page


def test_older_dirty_and_quick_figures_are_marked() -> None:
    older = result(
        9.0, 5, "at_least", commit="b" * 40, dirty=True, taken_at="2026-01-01T00:00:00Z", quick=True
    )
    page = render(a_document(**{"x.fast": older}), SUITE)
    assert "| `x.fast` | 9 (quick) |" in page
    assert (
        "- measured 2026-01-01T00:00:00Z, commit `bbbbbbbbbbbb` with uncommitted changes: "
        "`x.fast`\n" in page
    )


def test_a_page_can_be_made_before_anything_was_measured() -> None:
    page = render({}, SUITE)
    assert "Nothing has been measured yet." in page
    assert page.count("not measured yet |") == 4


@pytest.mark.parametrize(
    ("value", "direction", "met"),
    [(1.5, "at_least", "yes"), (1.5, "at_most", "yes"), (1.4, "at_least", "no")],
)
def test_reaching_a_target_exactly_meets_it(value: float, direction: str, met: str) -> None:
    document = a_document(**{"x.ratio": result(value, 1.5, direction)})
    assert table_rows(document, SUITE)[1][-1] == met


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.18649, "0.186"), (12.345, "12.3"), (99.96, "100"), (999.6, "1,000"), (1e6, "1,000,000")],
)
def test_numbers_are_shown_with_three_digits_and_whole_from_100_on(value: float, text: str) -> None:
    assert shown_number(value) == text


def test_columns_of_the_terminal_table_line_up() -> None:
    lines = text_table([("a", "1", "", "s", "≤ 5", "yes"), ("long.id", "2", "", "s", "", "")])
    assert lines.splitlines() == [
        "id       value  range  unit  target  met",
        "a        1             s     ≤ 5     yes",
        "long.id  2             s",
    ]


def test_a_tasks_wall_time_cpu_time_and_memory_stand_in_one_row() -> None:
    document = a_document(**COSTS, **{"alone.wall_s": cost(5.0)})
    assert beside_rows(document) == [("`do.it`", "1.25", "2.5", "250")]
    page = render(document, COSTS_SUITE)
    assert "| what | wall time (s) | CPU time (s) | peak memory (MB) |" in page
    assert "| `do.it` | 1.25 | 2.5 | 250 |" in page
    assert "| `do.it.wall_s` |" not in page
    assert "- `do.it.wall_s` (s): do.it.wall_s described." in page


def test_points_of_growth_curves_are_a_table_and_pictures_and_nothing_else() -> None:
    document = a_document(**COSTS)
    assert growth_curves(document) == {
        "sag": [Point(10_000, 1.25, 2.5, 250e6), Point(100_000, 2.5, 5.0, 500e6)]
    }
    page = render(document, COSTS_SUITE)
    assert "| sag | 10,000 | 1.25 | 2.5 | 250 |\n| sag | 100,000 | 2.5 | 5 | 500 |" in page
    assert "growth.sag.1e4" not in page
    for plot in PLOTS:
        assert f"![{plot.caption}](img/{plot.file})" in page


def test_a_picture_without_curves_is_neither_drawn_nor_shown() -> None:
    costs = {name.replace("growth.sag", "growth.compact"): value for name, value in COSTS.items()}
    document = a_document(**costs)
    assert set(pictures(document)) == {"bench-growth.svg"}
    assert "bench-sags.svg" not in render(document, SUITE)


def test_without_points_there_are_no_pictures() -> None:
    assert pictures(a_document()) == {}
    assert "img/" not in render(a_document(), SUITE)


def test_pictures_are_small_and_the_same_each_time_and_readable_on_light_and_dark() -> None:
    document = a_document(**COSTS)
    drawn = pictures(document)
    assert set(drawn) == {plot.file for plot in PLOTS}
    assert pictures(document) == drawn
    for picture in drawn.values():
        text = picture.decode()
        assert len(picture) < 60_000
        assert "CPU time (s)" in text
        # Texts are texts, in a grey that stands out from both; nothing is painted behind them.
        assert "fill: #7d7d7d" in text
        assert "#ffffff" not in text


def test_a_figure_without_a_target_has_none_in_the_tables() -> None:
    rows = table_rows(a_document(**COSTS), COSTS_SUITE)
    assert rows[-1][0] == "growth.sag.1e4.memory_bytes"
    assert rows[-1][-2:] == ("", "")
