"""Reads the rows of a soak; gives a verdict on each figure: whether it stays as it is.

A figure is flat when its trend over the last three quarters of the run would change it by less than
a stated limit within an hour. The trend is the slope of Theil and Sen: the median of the slopes
between all pairs of rows, which single outliers do not move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final

WARM_UP: Final = 0.25
"""Share of the run that is left out of all trends."""

HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class Limit:
    """How much a figure may rise.

    Attributes:
        share: of its median, per hour.
        floor: in its own unit per hour, where the share comes to less.
    """

    share: float
    floor: float

    def per_hour(self, middle: float) -> float:
        """Largest rise per hour of a figure around `middle`."""
        return max(self.share * middle, self.floor)


@dataclass(frozen=True)
class Trend:
    """A figure over the run.

    Attributes:
        figure: its name, with the unit at the end.
        median: after the warm-up.
        largest: after the warm-up.
        rise_per_hour: Theil and Sen's slope times an hour.
        limit_per_hour: what it may be.
        is_flat: whether it is within the limit.
    """

    figure: str
    median: float
    largest: float
    rise_per_hour: float
    limit_per_hour: float
    is_flat: bool


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Median of the slopes between all pairs of points; NaN with fewer than two times.

    Source: Sen, P. K. (1968), Journal of the American Statistical Association 63, 1379–1389.
    """
    slopes = [
        (y2 - y1) / (x2 - x1)
        for (x1, y1), (x2, y2) in combinations(zip(times, values, strict=True), 2)
        if x1 != x2
    ]
    return median(slopes) if slopes else math.nan


def warm(rows: Sequence[Mapping[str, float | None]]) -> list[Mapping[str, float | None]]:
    """Rows after the warm-up."""
    return list(rows[math.ceil(len(rows) * WARM_UP) :])


def trend(figure: str, rows: Sequence[Mapping[str, float | None]], limit: Limit) -> Trend:
    """Whether a figure of the rows (by `at_s`) is flat; rows without it do not count.

    A figure that is nowhere is not flat.
    """
    points = [(row["at_s"], value) for row in warm(rows) if (value := row.get(figure)) is not None]
    times = [time for time, _ in points if time is not None]
    values = [value for _, value in points]
    if len(values) < 2:
        return Trend(figure, math.nan, math.nan, math.nan, math.nan, is_flat=False)
    middle = median(values)
    rise, most = slope(times, values) * HOUR_S, limit.per_hour(middle)
    return Trend(figure, middle, max(values), rise, most, is_flat=rise <= most)


def growth(
    figure: str, per: str, rows: Sequence[Mapping[str, float | None]], most_more: float
) -> Trend:
    """Whether `figure` grows by as much per `per` in the end as before.

    Compares the slopes of the two halves after the warm-up: the second may be larger by the share
    `most_more`. The trend's figures are those slopes: the first as median, the second as largest,
    and the rise between the two.
    """
    known = [row for row in warm(rows) if row.get(figure) is not None and row.get(per) is not None]
    middle = len(known) // 2
    first, second = (
        slope([float(row[per] or 0) for row in half], [float(row[figure] or 0) for row in half])
        for half in (known[:middle], known[middle:])
    )
    rise, most = second - first, abs(first) * most_more
    return Trend(f"{figure} per {per}", first, second, rise, most, is_flat=rise <= most)
