"""What a soak calls flat, by hand-worked rows."""

from __future__ import annotations

import math

import pytest

from tests.soak.flatness import Limit, growth, slope, trend, warm

LIMIT = Limit(share=0.1, floor=5.0)


def rows(values: list[float | None]) -> list[dict[str, float | None]]:
    """A row a minute with a figure of these values."""
    return [{"at_s": 60.0 * minute, "mb": value} for minute, value in enumerate(values)]


def test_the_slope_is_the_median_of_all_pairs_so_no_outlier_moves_it() -> None:
    assert slope([0, 1, 2], [5, 7, 9]) == 2
    # Slopes 1, 1, 1, 1, 1, 1 and four of the outlier: 49, 24, 47 and -46.
    assert slope([0, 1, 2, 3, 4], [0, 1, 50, 3, 4]) == 1
    assert math.isnan(slope([1, 1], [2, 3]))


def test_the_first_quarter_counts_for_nothing() -> None:
    found = rows([0, 500, 100, 100, 100, 100, 100, 100])
    assert [row["mb"] for row in warm(found)] == [100] * 6
    assert trend("mb", found, LIMIT).is_flat


@pytest.mark.parametrize(
    ("per_minute", "is_flat"), [(0.15, True), (0.18, False), (-3.0, True)], ids=str
)
def test_a_figure_is_flat_within_its_share_per_hour(per_minute: float, is_flat: bool) -> None:
    # Around 100 it may rise by 10 an hour; 0.15 a minute is 9 and 0.18 is 10.8.
    found = trend("mb", rows([100 + per_minute * n for n in range(-4, 5)]), LIMIT)
    assert found.rise_per_hour == pytest.approx(60 * per_minute)
    assert found.limit_per_hour == pytest.approx(10, rel=0.1)
    assert found.is_flat is is_flat


def test_a_small_figure_may_rise_by_the_floor() -> None:
    assert trend("mb", rows([1 + n / 15 for n in range(8)]), LIMIT).is_flat
    assert not trend("mb", rows([1 + n / 10 for n in range(8)]), LIMIT).is_flat


def test_rows_without_the_figure_are_left_out_and_a_figure_without_rows_is_not_flat() -> None:
    assert trend("mb", rows([7, 7, None, 7, None, 7, 7, 7]), LIMIT).is_flat
    assert not trend("mb", rows([None] * 8), LIMIT).is_flat


@pytest.mark.parametrize(
    ("last", "is_flat"), [([90, 99, 108], True), ([95, 107, 119], True), ([100, 115, 130], False)]
)
def test_growth_is_compared_between_the_halves(last: list[float], is_flat: bool) -> None:
    # Ten bytes a reading in the first half; a quarter more is allowed in the second.
    sizes = [0, 10, 20, 30, 40, *last]
    found = [
        {"at_s": 60.0 * n, "readings": float(n), "bytes": float(size)}
        for n, size in enumerate(sizes)
    ]
    assert growth("bytes", "readings", found, 0.25).is_flat is is_flat
