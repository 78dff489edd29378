"""Reads growth curves; gives them as small SVG pictures that can be read on light and dark pages.

The same points give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.report import PLOTS, Point, growth_curves
from benchmarks.results import Document

_GREY: Final = "#7d7d7d"
"""Contrast of at least 4 : 1 on white and on the site's dark background alike."""

_LABELS: Final = {
    "generate": ("generate (Arrow)", "#0072b2", "o"),
    "ingest": ("ingest (Arrow)", "#d55e00", "s"),
    "compact": ("compact", "#009e73", "^"),
    "sag": ("sag detection", "#cc79a7", "D"),
    "sag_duckdb": ("DuckDB", "#e69f00", "o"),
    "sag_clickhouse": ("ClickHouse", "#009e73", "s"),
    "sag_polars": ("Polars", "#0072b2", "^"),
    "sag_pandas": ("pandas", "#d55e00", "v"),
}
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_SIZE_IN: Final = (9.0, 3.8)


def pictures(document: Document) -> dict[str, bytes]:
    """SVG of every plot by file name; none for curves that were not measured."""
    curves = growth_curves(document)
    found = {}
    for plot in PLOTS:
        chosen = {name: curves[name] for name in plot.curves if name in curves}
        if chosen:
            found[plot.file] = drawn(chosen)
    return found


def drawn(curves: Mapping[str, Sequence[Point]]) -> bytes:
    """CPU time and memory by readings, both on logarithmic scales, side by side."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        time_axes, memory_axes = figure.subplots(1, 2)
        _draw(time_axes, curves, "CPU time (s)", lambda point: point.cpu_s)
        _draw(memory_axes, curves, "peak memory (MB)", lambda point: point.memory_bytes / 1e6)
        # Memory grows over less than a decade or two.
        memory_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        memory_axes.yaxis.set_major_formatter(FuncFormatter(lambda mb, _: f"{mb:,.0f}"))
        time_axes.legend(frameon=False, fontsize=9)
        target = io.BytesIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return target.getvalue()


def _draw(axes: Any, curves: Mapping[str, Sequence[Point]], label: str, value: Any) -> None:
    for name, points in curves.items():
        text, color, marker = _LABELS[name]
        axes.loglog(
            [point.readings for point in points],
            [value(point) for point in points],
            color=color,
            marker=marker,
            markersize=5,
            label=text,
        )
    axes.set_xlabel("readings")
    axes.set_ylabel(label)
    axes.minorticks_off()
    axes.grid(visible=True)
