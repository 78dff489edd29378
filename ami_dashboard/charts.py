"""Charts of the pages: takes answers of the API, gives Altair charts that need no network.

Times on axes are the site's wall clock. What differs in colour differs in shape, dash or word too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd

from ami_dashboard import looks
from ami_dashboard.clock import local_text, wall_clock
from ami_dashboard.limits import Limits
from ami_dashboard.words import duration, number, percent

Json = dict[str, Any]
MOST_LABELS: Final = 60
_PER_ROW: Final = 8
_FEWEST_COLUMNS: Final = 3
_ROW_PX: Final = 108
_FONT: Final = "Source Sans, sans-serif"
_PAD_V: Final = 4.0
_RANGE_A_COLOR: Final = "#DFF3EC"
_RANGE_B_COLOR: Final = "#FFF3D6"
_MISSING: Final = {"lost": "lost on the way", "not_sampled": "never taken"}
_EVENTS: Final = ("events_minor", "events_major", "events_critical")


def _finished(chart: Any, height: int) -> alt.LayerChart:
    drawn: alt.LayerChart = (
        chart.properties(height=height, width="container")
        .configure(font=_FONT, background="transparent")
        .configure_axis(
            labelColor=looks.SOFT,
            titleColor=looks.INK,
            titleFontWeight="normal",
            titlePadding=8,
            gridColor="#E5E7EB",
            domainColor=looks.LINE,
            tickColor=looks.LINE,
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_view(stroke=None)
        .configure_legend(labelColor=looks.INK, titleColor=looks.INK, labelFontSize=12)
    )
    return drawn


def _volts(column: str, low: float, high: float, title: str | None = None) -> alt.Y:
    return alt.Y(
        f"{column}:Q",
        scale=alt.Scale(domain=[low, high], nice=False, zero=False),
        axis=alt.Axis(title=title, tickCount=6),
    )


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without what all of them begin with, cut at a separator."""
    if len(names) < 2:
        return {name: name for name in names}
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    cut = max(first.rfind(separator, 0, same) for separator in "-_.:") + 1
    return {name: name[cut:] for name in names}


def fleet_frame(poles: Sequence[Json], *, is_map: bool) -> pd.DataFrame:
    """A row per pole: where it is drawn, how, and what is told of it.

    In the schematic feeders lie under each other, their poles in rows by name; on the map poles
    lie where the registry says, and those without a place are left out.
    """
    rows = []
    feeders: dict[str, list[Json]] = {}
    for pole in poles:
        feeders.setdefault(pole["feeder_id"] or "no feeder", []).append(pole)
    line = 0
    for feeder in sorted(feeders):
        members = sorted(feeders[feeder], key=lambda pole: str(pole["pole_id"]))
        short = short_names([pole["pole_id"] for pole in members])
        for place, pole in enumerate(members):
            mark = looks.condition(pole["health_score"])
            x: float | None = place % _PER_ROW + 1
            y: float | None = float(line + place // _PER_ROW)
            if is_map:
                x, y = pole["longitude"], pole["latitude"]
                if x is None or y is None:
                    continue
            score = pole["health_score"]
            rows.append(
                {
                    "pole": pole["pole_id"],
                    "feeder": feeder,
                    "x": x,
                    "y": y,
                    "line": f"{feeder} {0 if is_map else place // _PER_ROW}",
                    "condition": mark.word,
                    "label": short[pole["pole_id"]],
                    "score": mark.sign if score is None else f"{score:.0f}",
                    "health": "unknown" if score is None else f"{score:.0f} of 100",
                    "lowest": number(pole["min_voltage_v"], "V"),
                    "peak": number(pole["peak_kw"], "kW"),
                    "missing": percent(pole["missing_rate"]),
                    "events": sum(pole[name] or 0 for name in _EVENTS),
                }
            )
        line += -(-len(members) // _PER_ROW)
    return pd.DataFrame(rows)


def fleet_chart(frame: pd.DataFrame, *, is_map: bool) -> alt.LayerChart:
    """Feeders with their poles, coloured and shaped by condition; a click chooses a pole."""
    marks = looks.CONDITIONS
    words = [mark.word for mark in marks]
    labelled = len(frame) <= MOST_LABELS
    if is_map:
        spread = max(frame.x.max() - frame.x.min(), frame.y.max() - frame.y.min(), 0.0005) * 0.62
        middle_x, middle_y = (
            (frame.x.max() + frame.x.min()) / 2,
            (frame.y.max() + frame.y.min()) / 2,
        )
        x = alt.X(
            "x:Q",
            scale=alt.Scale(domain=[middle_x - spread, middle_x + spread], nice=False, zero=False),
            axis=alt.Axis(title="longitude [°]", format=".3f", tickCount=4),
        )
        y = alt.Y(
            "y:Q",
            scale=alt.Scale(domain=[middle_y - spread, middle_y + spread], nice=False, zero=False),
            axis=alt.Axis(title="latitude [°]", format=".3f", tickCount=4),
        )
        height = 460
    else:
        rows = int(frame.y.max()) + 1
        columns = max(int(frame.x.max()), _FEWEST_COLUMNS)
        x = alt.X("x:Q", scale=alt.Scale(domain=[-0.1, columns + 0.5], nice=False), axis=None)
        y = alt.Y("y:Q", scale=alt.Scale(domain=[rows - 0.5, -0.5], nice=False), axis=None)
        height = 30 + _ROW_PX * rows
    base = alt.Chart(frame)
    wires = [base.mark_line(color=looks.LINE, strokeWidth=3).encode(x, y, detail="line:N")]
    if not is_map:
        wires = _feeders(frame, x, y)
    points = (
        base.mark_point(
            filled=True, size=260 if is_map else 820, opacity=1, stroke=looks.PAPER, strokeWidth=2
        )
        .encode(
            x,
            y,
            color=alt.Color(
                "condition:N",
                scale=alt.Scale(domain=words, range=[mark.color for mark in marks]),
                legend=alt.Legend(title=None, orient="top", symbolSize=160),
            ),
            shape=alt.Shape(
                "condition:N", scale=alt.Scale(domain=words, range=[mark.shape for mark in marks])
            ),
            tooltip=[
                alt.Tooltip("pole", title="pole"),
                alt.Tooltip("feeder", title="feeder"),
                alt.Tooltip("health", title="health"),
                alt.Tooltip("lowest", title="lowest voltage, last hour"),
                alt.Tooltip("peak", title="peak, last hour"),
                alt.Tooltip("missing", title="readings missing, last hour"),
                alt.Tooltip("events", title="events, last hour"),
            ],
        )
        .add_params(alt.selection_point(name="chosen", fields=["pole"]))
    )
    layers = [*wires, points]
    if labelled and is_map:
        named = frame.assign(text=frame["label"] + " · " + frame["score"])
        layers.append(
            alt.Chart(named)
            .mark_text(align="left", dx=14, color=looks.INK, fontSize=12)
            .encode(x, y, text="text:N")
        )
    elif labelled:
        names = base.mark_text(dy=30, color=looks.INK, fontSize=12)
        scores = base.mark_text(dy=-27, color=looks.INK, fontSize=13, fontWeight="bold")
        layers += [names.encode(x, y, text="label:N"), scores.encode(x, y, text="score:N")]
    return _finished(alt.layer(*layers), height)


def _feeders(frame: pd.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """A line from a feeder's square, with its name, to the last pole of each row."""
    rows = frame.groupby(["feeder", "y"], as_index=False).agg(until=("x", "max")).assign(x=0.1)
    first = rows.sort_values("y").groupby("feeder", as_index=False).first()
    return [
        alt.Chart(rows).mark_rule(color=looks.LINE, strokeWidth=3).encode(x, y, x2="until:Q"),
        alt.Chart(first).mark_square(size=170, opacity=1, color=looks.INK).encode(x, y),
        alt.Chart(first)
        .mark_text(align="left", dy=-45, dx=-7, fontSize=13, color=looks.SOFT)
        .encode(x, y, text="feeder:N"),
    ]


@dataclass(frozen=True)
class View:
    """What part of time a chart shows.

    Attributes:
        start, end: window.
        zone: zone of its wall clock.
        zone_text: how the zone is named at the axis.
    """

    start: datetime
    end: datetime
    zone: ZoneInfo
    zone_text: str

    @property
    def title(self) -> str:
        """Title of the time axis."""
        return f"local time ({self.zone_text})"

    def domain(self) -> list[alt.DateTime]:
        """Ends of the time axis on the wall clock."""
        return [
            alt.DateTime(
                year=at.year,
                month=at.month,
                date=at.day,
                hours=at.hour,
                minutes=at.minute,
                seconds=at.second,
                utc=True,
            )
            for at in wall_clock([self.start, self.end], self.zone)
        ]


def _x(view: View, ticks: int = 8) -> alt.X:
    span = view.end - view.start
    form = "%b %d" if span > timedelta(days=3) else "%H:%M"
    if timedelta(hours=12) < span <= timedelta(days=3):
        form = "%b %d %H:%M"
    return alt.X(
        "at:T",
        scale=alt.Scale(type="utc", nice=False, domain=view.domain()),
        axis=alt.Axis(
            title=view.title, labelOverlap=True, tickCount=ticks, grid=False, format=form
        ),
    )


def stepped(frame: pd.DataFrame, width: timedelta, values: Sequence[str]) -> pd.DataFrame:
    """Two rows per part, its begin and end, and a break where parts are missing.

    Drawn as lines from row to row they are steps that neither cross a gap nor stop short.
    """
    begins = frame.assign(order=0)
    ends = frame.assign(order=1, at=frame["at"] + width)
    is_last = frame["at"].shift(-1) - frame["at"] > width * 1.01
    breaks = ends[is_last].assign(order=2, **dict.fromkeys(values, math.nan))
    rows = pd.concat([begins.assign(part=range(len(frame))), ends.assign(part=range(len(frame)))])
    parts = pd.concat([rows, breaks.assign(part=[i for i, last in enumerate(is_last) if last])])
    return parts.sort_values(["part", "order"]).drop(columns=["part", "order"])


_PARTS: Final = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}


def band_frame(points: Sequence[Json], resolution: str, zone: ZoneInfo) -> pd.DataFrame:
    """Rows of a time series that draw it in steps, with wall-clock time."""
    frame = pd.DataFrame(points, columns=["ts", "value", "min", "max"])
    frame["at"] = wall_clock(frame["ts"], zone)
    frame["when"] = [local_text(ts, zone, seconds=False) for ts in frame["ts"]]
    return stepped(frame.drop(columns=["ts"]), _PARTS[resolution], ["value", "min", "max"])


def _limit_bands(
    limits: Limits, low: float, high: float, title: str | None = "voltage [V]"
) -> list[alt.Chart]:
    """ANSI's ranges and the low-voltage limit, behind everything else."""

    def band(from_v: float, to_v: float, color: str) -> alt.Chart:
        chart: alt.Chart = (
            alt.Chart(pd.DataFrame([{"from": from_v, "to": to_v}]))
            .mark_rect(color=color, opacity=1)
            .encode(_volts("from", low, high, title), y2="to:Q")
        )
        return chart

    return [
        band(limits.b_min_v, limits.a_min_v, _RANGE_B_COLOR),
        band(limits.a_min_v, limits.a_max_v, _RANGE_A_COLOR),
        band(limits.a_max_v, limits.b_max_v, _RANGE_B_COLOR),
        alt.Chart(pd.DataFrame([{"volts": limits.low_v}]))
        .mark_rule(color=looks.VERMILION, strokeDash=[5, 4], strokeWidth=1.2)
        .encode(_volts("volts", low, high, title)),
    ]


def voltage_chart(
    points: Sequence[Json], resolution: str, events: Sequence[Json], limits: Limits, view: View
) -> alt.LayerChart:
    """Mean voltage between its extremes, ANSI ranges behind it, events marked above."""
    frame = band_frame(points, resolution, view.zone)
    lowest = min([limits.b_min_v, *frame["min"].dropna()]) - _PAD_V
    highest = max([limits.b_max_v, *frame["max"].dropna()]) + 3 * _PAD_V
    x, y = _x(view), _volts("value", lowest, highest, "voltage [V]")
    base = alt.Chart(frame)
    tooltip = [
        alt.Tooltip("when", title="local time"),
        alt.Tooltip("value", title="mean [V]", format=".1f"),
        alt.Tooltip("min", title="lowest [V]", format=".1f"),
        alt.Tooltip("max", title="highest [V]", format=".1f"),
    ]
    extremes = base.mark_area(opacity=0.35, color=looks.SKY).encode(
        x, _volts("min", lowest, highest, "voltage [V]"), alt.Y2("max:Q"), tooltip=tooltip
    )
    mean = base.mark_line(color=looks.BLUE, strokeWidth=1.8).encode(x, y, tooltip=tooltip)
    layers = [*_limit_bands(limits, lowest, highest), extremes, mean]
    if events:
        at_v = _volts("volts", lowest, highest, "voltage [V]")
        layers += _event_marks(events, view, x, at_v, highest - 1.5 * _PAD_V)
    return _finished(alt.layer(*layers), 330)


def _event_marks(
    events: Sequence[Json], view: View, x: alt.X, y: alt.Y, height_v: float
) -> list[alt.Chart]:
    frame = pd.DataFrame(
        {
            "at": wall_clock([event["start_ts"] for event in events], view.zone),
            "when": [local_text(event["start_ts"], view.zone) for event in events],
            "volts": height_v,
            "severity": [event["severity"] for event in events],
            "meter": [event["meter_id"] for event in events],
            "lasted": [duration(event["duration_s"]) for event in events],
            "lowest": [number(event["min_voltage_v"], "V") for event in events],
        }
    )
    words = list(looks.SEVERITIES)
    marks = (
        alt.Chart(frame)
        .mark_point(filled=True, size=110, opacity=1, stroke=looks.PAPER, strokeWidth=1)
        .encode(
            x,
            y,
            color=alt.Color(
                "severity:N",
                scale=alt.Scale(
                    domain=words, range=[looks.SEVERITIES[word].color for word in words]
                ),
                legend=alt.Legend(title="low-voltage event", orient="top"),
            ),
            shape=alt.Shape(
                "severity:N",
                scale=alt.Scale(
                    domain=words, range=[looks.SEVERITIES[word].shape for word in words]
                ),
            ),
            tooltip=[
                alt.Tooltip("when", title="local time"),
                alt.Tooltip("severity"),
                alt.Tooltip("meter"),
                alt.Tooltip("lasted"),
                alt.Tooltip("lowest", title="lowest voltage"),
            ],
        )
    )
    rules = alt.Chart(frame).mark_rule(color=looks.SOFT, strokeDash=[2, 3], opacity=0.45).encode(x)
    return [rules, marks]


def load_chart(
    points: Sequence[Json], resolution: str, rated_kva: float | None, view: View
) -> alt.LayerChart:
    """Mean power between its extremes, with the rating where the load comes near it."""
    frame = band_frame(points, resolution, view.zone)
    x = _x(view)
    base = alt.Chart(frame)
    tooltip = [
        alt.Tooltip("when", title="local time"),
        alt.Tooltip("value", title="mean [kW]", format=".2f"),
        alt.Tooltip("min", title="least [kW]", format=".2f"),
        alt.Tooltip("max", title="most [kW]", format=".2f"),
    ]
    axis = alt.Axis(title="power [kW]", tickCount=5)
    layers = [
        base.mark_area(opacity=0.3, color=looks.SKY).encode(
            x, alt.Y("min:Q", axis=axis), alt.Y2("max:Q"), tooltip=tooltip
        ),
        base.mark_line(color=looks.BLUE, strokeWidth=1.8).encode(
            x, alt.Y("value:Q", axis=axis), tooltip=tooltip
        ),
    ]
    most = frame["max"].max()
    if rated_kva and most > 0.6 * rated_kva:
        rating = pd.DataFrame([{"kw": rated_kva, "name": f"rated {rated_kva:g} kVA"}])
        layers.append(
            alt.Chart(rating)
            .mark_rule(color=looks.VERMILION, strokeDash=[6, 3], strokeWidth=1.5)
            .encode(y="kw:Q")
        )
        layers.append(
            alt.Chart(rating)
            .mark_text(align="right", baseline="bottom", dx=-6, dy=-3, color=looks.VERMILION)
            .encode(x=alt.value("width"), y="kw:Q", text="name:N")
        )
    return _finished(alt.layer(*layers), 240)


ROLES: Final = ("this meter", "also low", "stayed in range")


def trace_frame(
    traces: Sequence[Json], event: Json, low_meters: set[str], zone: ZoneInfo
) -> pd.DataFrame:
    """A row per reading, with what its meter has to do with the event."""
    parts = []

    def importance(trace: Json) -> int:
        meter = trace["meter_id"]
        return 2 if meter == event["meter_id"] else int(meter in low_meters)

    # What comes last is drawn above the rest.
    for trace in sorted(traces, key=importance):
        meter = trace["meter_id"]
        if not trace["samples"]:
            continue
        frame = pd.DataFrame(trace["samples"])
        frame["at"] = wall_clock(frame["ts"], zone)
        frame["when"] = frame["at"].dt.strftime("%H:%M:%S")
        frame["meter"] = meter
        frame = _broken(frame)
        is_own = meter == event["meter_id"]
        frame["role"] = ROLES[0] if is_own else ROLES[1] if meter in low_meters else ROLES[2]
        parts.append(frame.drop(columns=["ts"]).rename(columns={"voltage_v": "volts"}))
    columns = ["volts", "at", "when", "meter", "role"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _broken(frame: pd.DataFrame) -> pd.DataFrame:
    """Readings with an empty row after each that a hole follows, so that no line crosses it."""
    steps = frame["at"].diff().shift(-1)
    hole = steps > 3 * steps.median()
    rows = frame[hole].assign(
        at=frame["at"][hole] + steps.median(), **dict.fromkeys(["voltage_v"], math.nan)
    )
    return pd.concat([frame, rows]).sort_values("at")


def voltage_domain(frame: pd.DataFrame, limits: Limits) -> tuple[float, float]:
    """Ends of a voltage axis that holds all readings and the limits."""
    lowest = min([limits.b_min_v, *frame["volts"].dropna()])
    highest = max([limits.b_max_v, *frame["volts"].dropna()])
    return lowest - _PAD_V, highest + _PAD_V


def trace_chart(
    frame: pd.DataFrame, event: Json, limits: Limits, view: View, height: int
) -> alt.LayerChart:
    """Every reading of every meter around an event, second by second."""
    low, high = voltage_domain(frame, limits)
    x = alt.X(
        "at:T",
        scale=alt.Scale(type="utc", nice=False, domain=view.domain()),
        axis=alt.Axis(
            title=view.title, format="%H:%M:%S", tickCount=6, labelOverlap=True, grid=False
        ),
    )
    y = _volts("volts", low, high, "voltage [V]")
    ends = wall_clock([event["start_ts"], event["end_ts"]], view.zone)
    # A reading stands for the second that follows it.
    during = pd.DataFrame([{"at": ends[0], "until": ends[1] + timedelta(seconds=1)}])
    shade = alt.Chart(during).mark_rect(color=looks.VERMILION, opacity=0.1).encode(x, x2="until:T")
    lines = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after")
        .encode(
            x,
            y,
            detail="meter:N",
            order="at:T",
            color=alt.Color(
                "role:N",
                scale=alt.Scale(domain=list(ROLES), range=[looks.VERMILION, looks.BLUE, "#9CA3AF"]),
                legend=alt.Legend(
                    title=None,
                    orient="bottom-left",
                    symbolType="stroke",
                    symbolSize=400,
                    symbolStrokeWidth=2.5,
                    fillColor=looks.PAPER,
                    padding=6,
                ),
            ),
            strokeDash=alt.StrokeDash(
                "role:N",
                scale=alt.Scale(domain=list(ROLES), range=[[1, 0], [6, 2], [1, 0]]),
            ),
            strokeWidth=alt.StrokeWidth(
                "role:N", scale=alt.Scale(domain=list(ROLES), range=[2.6, 1.8, 1.0]), legend=None
            ),
            tooltip=[
                alt.Tooltip("when", title="local time"),
                alt.Tooltip("meter"),
                alt.Tooltip("volts", title="voltage [V]", format=".1f"),
            ],
        )
    )
    bands = _limit_bands(limits, low, high)
    return _finished(alt.layer(*bands, shade, lines), height)


def interval_chart(
    means: Sequence[Json],
    interval_s: int,
    domain: tuple[float, float],
    limits: Limits,
    view: View,
    height: int,
) -> alt.LayerChart:
    """What a meter of longer intervals tells of the same time: a mean per interval."""
    low, high = domain
    width = timedelta(seconds=interval_s)
    frame = pd.DataFrame(
        {
            "at": wall_clock([mean["start_ts"] for mean in means], view.zone),
            "volts": [mean["mean_voltage_v"] for mean in means],
            "when": [local_text(mean["start_ts"], view.zone, seconds=False) for mean in means],
            "text": [number(mean["mean_voltage_v"], "V") for mean in means],
        }
    )
    frame["until"] = frame["at"] + width
    frame["middle"] = frame["at"] + width / 2
    y = _volts("volts", low, high)
    scale = alt.Scale(type="utc", nice=False)
    x = alt.X(
        "at:T",
        scale=scale,
        axis=alt.Axis(
            title="local time", format="%H:%M", tickCount=2, labelOverlap=True, grid=False
        ),
    )
    base = alt.Chart(frame)
    bars = base.mark_rule(color=looks.BLUE, strokeWidth=4).encode(
        x, y, x2="until:T",
        tooltip=[
            alt.Tooltip("when", title="interval from"),
            alt.Tooltip("volts", title="mean voltage [V]", format=".1f"),
        ],
    )  # fmt: skip
    texts = base.mark_text(dy=-12, fontSize=13, fontWeight="bold", color=looks.BLUE).encode(
        alt.X("middle:T", scale=scale), y, text="text:N"
    )
    few = len(means) <= 2
    bands = _limit_bands(limits, low, high, None)
    return _finished(alt.layer(*bands, bars, *([texts] if few else [])), height)


def dr_frame(intervals: Sequence[Json], zone: ZoneInfo) -> pd.DataFrame:
    """A row per 5-minute slot, with wall-clock time."""
    frame = pd.DataFrame(
        intervals,
        columns=["slot_ts", "phase", "baseline_kw", "actual_kw", "shed_kw", "poles", "known_poles"],
    )
    frame["at"] = wall_clock(frame["slot_ts"], zone)
    frame["until"] = frame["at"] + timedelta(minutes=5)
    frame["when"] = [local_text(ts, zone, seconds=False) for ts in frame["slot_ts"]]
    return frame.drop(columns=["slot_ts"])


def dr_chart(frame: pd.DataFrame, view: View) -> alt.LayerChart:
    """Baseline and actual power, with what was shed between them."""
    x = _x(view)
    event = frame[frame["phase"] == "event"]
    axis = alt.Axis(title="power, 5-minute means [kW]", tickCount=6)
    tooltip = [
        alt.Tooltip("when", title="local time"),
        alt.Tooltip("phase"),
        alt.Tooltip("baseline_kw", title="baseline [kW]", format=",.2f"),
        alt.Tooltip("actual_kw", title="actual [kW]", format=",.2f"),
        alt.Tooltip("shed_kw", title="shed [kW]", format=",.2f"),
    ]
    known = event.dropna(subset=["baseline_kw", "actual_kw"])
    sheds = known.assign(
        kind=["shed" if kw >= 0 else "more than baseline" for kw in known["shed_kw"]]
    )
    layers: list[Any] = []
    if len(event):
        window = pd.DataFrame([{"at": event["at"].min(), "until": event["until"].max()}])
        layers.append(
            alt.Chart(window).mark_rect(color=looks.SKY, opacity=0.14).encode(x, x2="until:T")
        )
    layers.append(
        alt.Chart(sheds)
        .mark_rect(opacity=1)
        .encode(
            x,
            alt.Y("actual_kw:Q", axis=axis, scale=alt.Scale(zero=True)),
            x2="until:T",
            y2="baseline_kw:Q",
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(
                    domain=["shed", "more than baseline"], range=["#7FCDB5", "#F3CC73"]
                ),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=tooltip,
        )
    )
    lines = stepped(frame, timedelta(minutes=5), ["baseline_kw", "actual_kw"]).melt(
        id_vars=["at", "when"],
        value_vars=["baseline_kw", "actual_kw"],
        var_name="line",
        value_name="kw",
    )
    lines["line"] = lines["line"].map({"baseline_kw": "baseline", "actual_kw": "actual"})
    layers.append(
        alt.Chart(lines)
        .mark_line(strokeWidth=2.2)
        .encode(
            x,
            alt.Y("kw:Q", axis=axis),
            color=alt.Color(
                "line:N",
                scale=alt.Scale(domain=["baseline", "actual"], range=[looks.BLUE, looks.INK]),
                legend=alt.Legend(
                    title=None,
                    orient="top",
                    symbolType="stroke",
                    symbolSize=400,
                    symbolStrokeWidth=2.5,
                ),
            ),
            strokeDash=alt.StrokeDash(
                "line:N", scale=alt.Scale(domain=["baseline", "actual"], range=[[6, 3], [1, 0]])
            ),
            tooltip=[
                alt.Tooltip("when", title="local time"),
                alt.Tooltip("line"),
                alt.Tooltip("kw", title="power [kW]", format=",.2f"),
            ],
        )
    )
    drawn = alt.layer(*layers).resolve_scale(color="independent", strokeDash="independent")
    return _finished(drawn, 360)


def bars_chart(
    names: Sequence[str], values: Sequence[float | None], title: str, *, chosen: str = ""
) -> alt.LayerChart:
    """Horizontal bars with their values written beside them; the chosen one darker."""
    frame = pd.DataFrame(
        {
            "name": names,
            "value": values,
            "text": [number(value) for value in values],
            "color": [looks.BLUE if name == chosen or not chosen else looks.SKY for name in names],
        }
    )
    y = alt.Y("name:N", sort=None, axis=alt.Axis(title=None, labelLimit=220, ticks=False))
    most = max([0.0, *frame["value"].dropna()])
    least = min([0.0, *frame["value"].dropna()])
    room = 0.18 * ((most - least) or 1)
    scale = alt.Scale(domain=[least - (room if least < 0 else 0), most + room], nice=False)
    x = alt.X("value:Q", scale=scale, axis=alt.Axis(title=title, tickCount=4))
    base = alt.Chart(frame)
    bars = base.mark_bar(height=16).encode(x, y, color=alt.Color("color:N", scale=None))
    texts = base.mark_text(align="left", dx=5, color=looks.INK).encode(x, y, text="text:N")
    return _finished(alt.layer(bars, texts), 34 * max(len(names), 1) + 40)


def quality_chart(hours: Sequence[Json], view: View) -> alt.LayerChart:
    """Missing readings by the hour as a share of the expected, by what became of them."""
    rows = []
    starts = wall_clock([hour["hour_ts"] for hour in hours], view.zone)
    for at, hour in zip(starts, hours, strict=True):
        below = 0.0
        for kind, word in _MISSING.items():
            if not hour["expected"]:
                continue
            share = 100 * hour[kind] / hour["expected"]
            rows.append(
                {
                    "at": at,
                    "until": at + timedelta(hours=1),
                    "when": local_text(hour["hour_ts"], view.zone, seconds=False),
                    "kind": word,
                    "from": below,
                    "to": below + share,
                    "share": share,
                    "count": hour[kind],
                    "expected": hour["expected"],
                }
            )
            below += share
    columns = ["at", "until", "when", "kind", "from", "to", "share", "count", "expected"]
    frame = pd.DataFrame(rows, columns=columns)
    most = max([1.0, *frame["to"]])
    words = list(_MISSING.values())
    chart = (
        alt.Chart(frame)
        .mark_rect(stroke=looks.PAPER, strokeWidth=1)
        .encode(
            _x(view),
            alt.Y(
                "from:Q",
                scale=alt.Scale(domain=[0, most], nice=True),
                axis=alt.Axis(title="missing, of the expected [%]", tickCount=5),
            ),
            x2="until:T",
            y2="to:Q",
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=words, range=[looks.ORANGE, "#4B5563"]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=[
                alt.Tooltip("when", title="hour from"),
                alt.Tooltip("kind"),
                alt.Tooltip("count", title="readings", format=","),
                alt.Tooltip("expected", title="expected", format=","),
                alt.Tooltip("share", title="share [%]", format=".2f"),
            ],
        )
    )
    return _finished(alt.layer(chart), 240)
