"""Line charts as SVG: reads series of numbers, gives markdown that shows them as a picture.

The picture is inside the text, as a data URI, so nothing needs to be served.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 34, 44
_FONT: Final = 'font-family="sans-serif" font-size="12" fill="#333"'


@dataclass(frozen=True)
class Line:
    """A series.

    Attributes:
        name: for the legend.
        color: of SVG.
        points: (x, y) in rising x; the line breaks where y is None.
        dashed: whether it is drawn dashed.
    """

    name: str
    color: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False


def line_chart(
    title: str,
    unit: str,
    lines: Sequence[Line],
    x_labels: Sequence[tuple[float, str]],
    shaded: tuple[float, float] | None = None,
) -> str:
    """SVG of lines over a common x.

    Args:
        title: above the chart.
        unit: of y; stands behind the title.
        lines: at least one with a value.
        x_labels: what stands below the axis, and where.
        shaded: span of x with a grey ground.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if y is not None]
    x_min, x_max = min(xs), max(xs)
    ticks = _ticks(min(ys), max(ys))
    y_min, y_max = ticks[0], ticks[-1]

    def at_x(x: float) -> float:
        return round(_LEFT + (x - x_min) / ((x_max - x_min) or 1) * (_WIDTH - _LEFT - _RIGHT), 1)

    def at_y(y: float) -> float:
        return round(
            _HEIGHT - _BOTTOM - (y - y_min) / (y_max - y_min) * (_HEIGHT - _TOP - _BOTTOM), 1
        )

    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {_FONT}>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(f"{title} [{unit}]")}</text>',
    ]
    if shaded:
        left, right = (at_x(min(max(x, x_min), x_max)) for x in shaded)
        drawn.append(
            f'<rect x="{left}" y="{_TOP}" width="{round(right - left, 1)}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}" fill="#eee"/>'
        )
    for value in ticks:
        drawn.append(
            f'<path d="M{_LEFT} {at_y(value)}H{_WIDTH - _RIGHT}" stroke="#ccc"/>'
            f'<text x="{_LEFT - 6}" y="{at_y(value) + 4}" text-anchor="end">{value:g}</text>'
        )
    below = f'y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle"'
    drawn += [f'<text x="{at_x(x)}" {below}>{escape(text)}</text>' for x, text in x_labels]
    for number, line in enumerate(lines):
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        stroke = f'fill="none" stroke="{line.color}" stroke-width="1.6"{dash}'
        path = "".join(
            f"{'L' if i and line.points[i - 1][1] is not None else 'M'}{at_x(x)} {at_y(y)}"
            for i, (x, y) in enumerate(line.points)
            if y is not None
        )
        legend_x, legend_y = _LEFT + number * 130, _HEIGHT - 10
        drawn.append(
            f'<path d="{path}" {stroke}/>'
            f'<path d="M{legend_x} {legend_y - 4}h18" {stroke}/>'
            f'<text x="{legend_x + 24}" y="{legend_y}">{escape(line.name)}</text>'
        )
    return "".join([*drawn, "</svg>"])


def _ticks(least: float, most: float) -> list[float]:
    """Round numbers, four to eleven, from at most `least` to at least `most`."""
    span = most - least or abs(most) or 1.0
    decade = 10.0 ** floor(log10(span / 4))
    step = next(factor * decade for factor in (5, 2, 1) if span / (factor * decade) >= 4)
    first, last = floor(least / step), max(ceil(most / step), floor(least / step) + 1)
    return [round(number * step, 9) for number in range(first, last + 1)]


def as_markdown(svg: str, text: str) -> str:
    """Markdown that shows `svg`, with `text` above it and in its place where it is not shown."""
    source = b64encode(svg.encode()).decode()
    return f"{text}\n\n![{text}](data:image/svg+xml;base64,{source})"
