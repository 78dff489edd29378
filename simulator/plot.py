"""Reads a configuration; gives a picture of one pole's day: load, voltage and what disturbed it.

The numbers come from the same meters as a run's readings. Drawing needs matplotlib, which is an
extra of this package, `plot`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import numpy as np

from ami_contract.errors import SettingsError
from ami_store.files import write_bytes
from simulator.config import SimulationConfig
from simulator.fleet import Pole, build_fleet
from simulator.load import Floats, Times
from simulator.meters import SEGMENT_SAMPLES, PoleMeters
from simulator.truth import PoleTruth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS: Final = (".png", ".svg", ".html")
SLOT_MS: Final = 60_000
EVENT_S: Final = 5.0
"""A low run from this duration on is an event of the platform."""

_SCOPE_COLOURS: Final = {
    "meter": "#2a6fbb",
    "pole": "#c26a00",
    "feeder": "#a3243b",
    "none": "#555555",
}


@dataclass(frozen=True)
class Event:
    """A run of low or high voltage on one meter.

    Attributes:
        start: first sample of it (UTC).
        duration_s: as sampled.
        depth_pu: injected change of voltage, positive below nominal.
        kind: sag, swell, interruption or outage.
        scope: meter, pole, feeder or none.
    """

    start: datetime
    duration_s: float
    depth_pu: float
    kind: str
    scope: str


@dataclass(frozen=True)
class DayView:
    """What a pole did, in slots of a minute or a sample interval, whichever is longer.

    Attributes:
        pole_id, time_zone, meters: of the pole.
        start_ms: start of each slot (ms since 1970).
        power_kw: mean power of the pole, export below 0.
        low_v, mean_v, high_v: lowest, mean and highest voltage of all its meters; NaN without any.
        threshold_v, nominal_v: of the configuration.
        events: everything that was injected, by time.
    """

    pole_id: str
    time_zone: str
    meters: int
    start_ms: Times
    power_kw: Floats
    low_v: Floats
    mean_v: Floats
    high_v: Floats
    threshold_v: float
    nominal_v: float
    events: list[Event]


def day_view(
    config: SimulationConfig,
    start: datetime,
    end: datetime,
    *,
    pole: Pole | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> DayView:
    """What `pole` (None: the first of the fleet) does in [start, end).

    Args:
        progress: called with the share that is done.

    Raises:
        SettingsError: the window is empty or lies before `seq_origin`.
    """
    pole = pole or build_fleet(config).poles[0]
    interval_ms, origin_ms = config.sample_interval_ms, config.seq_origin_ms
    if start < config.seq_origin:
        raise SettingsError(f"start = {start.isoformat()}: not before seq_origin")
    first = -((origin_ms - round(start.timestamp() * 1000)) // interval_ms)
    last = -((origin_ms - round(end.timestamp() * 1000)) // interval_ms)
    if last <= first:
        raise SettingsError(f"end = {end.isoformat()}: later than start by a sample at least")
    slot_ms = max(SLOT_MS, interval_ms)
    first_slot = (origin_ms + first * interval_ms) // slot_ms
    count = (origin_ms + (last - 1) * interval_ms) // slot_ms - first_slot + 1
    energy, volts, readings, ticks = (np.zeros(count) for _ in range(4))
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    meters = PoleMeters(config, pole)
    truth = PoleTruth(config, meters)
    for tick in range(first, last, SEGMENT_SAMPLES):
        until = min(tick + SEGMENT_SAMPLES, last)
        samples = meters.samples(tick, until)
        truth.add(samples, tick, until)
        grid = (origin_ms + np.arange(tick, until) * interval_ms) // slot_ms - first_slot
        ticks += np.bincount(grid, minlength=count)
        if samples is not None:
            slot = (origin_ms + samples.tick * interval_ms) // slot_ms - first_slot
            energy += np.bincount(slot, samples.power_kw, count)
            volts += np.bincount(slot, samples.voltage_v, count)
            readings += np.bincount(slot, minlength=count)
            np.minimum.at(low, slot, samples.voltage_v)
            np.maximum.at(high, slot, samples.voltage_v)
        progress((until - first) / (last - first))
    nothing = readings == 0
    low[nothing] = high[nothing] = np.nan
    with np.errstate(invalid="ignore"):
        mean = volts / readings
    return DayView(
        pole_id=pole.pole_id,
        time_zone=config.time_zone,
        meters=len(pole.meters),
        start_ms=(first_slot + np.arange(count)) * slot_ms,
        power_kw=energy / ticks,
        low_v=low,
        mean_v=mean,
        high_v=high,
        threshold_v=config.sag_threshold_v,
        nominal_v=float(config.voltage_nominal),
        events=_events(truth),
    )


def _events(truth: PoleTruth) -> list[Event]:
    found = []
    for rows, sign in ((truth.low_run_rows(), 1), (truth.high_run_rows(), -1)):
        for row in rows:
            found.append(
                Event(
                    start=datetime.fromisoformat(row[4]),
                    duration_s=row[8],
                    depth_pu=sign * row[10],
                    kind=row[12],
                    scope=row[3],
                )
            )
    return sorted(found, key=lambda event: event.start)


def day_before(instant: datetime, zone: str) -> tuple[datetime, datetime]:
    """The last whole local day before `instant`."""
    local = instant.astimezone(ZoneInfo(zone))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=1), midnight


def check_target(target: Path) -> None:
    """Raise SettingsError unless a picture can be written to such a file on this machine."""
    if target.suffix.lower() not in FORMS:
        raise SettingsError(f"--plot {target}: a file that ends in {', '.join(FORMS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SettingsError(
            "--plot: needs matplotlib, which is not installed; run `.venv/bin/uv pip install "
            "--constraint requirements.lock --editable '.[plot]'` in the project's folder"
        ) from None


def write_plot(view: DayView, target: Path) -> None:
    """Draw `view` into `target`: `.png`, `.svg`, or `.html` with the drawing inside.

    Raises:
        SettingsError: another ending, or matplotlib is not installed.
        LakeError: the file cannot be written.
    """
    check_target(target)
    import matplotlib as mpl

    form = target.suffix.lower()
    sink = io.BytesIO()
    # A fixed salt and no date: the same view gives the same file.
    with mpl.rc_context({"svg.hashsalt": "ami", "font.size": 9}):
        figure = draw(view)
        if form == ".png":
            figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
        else:
            figure.savefig(sink, format="svg", metadata={"Date": None})
    content = sink.getvalue()
    if form == ".html":
        drawing = content[content.index(b"<svg") :]
        title = f"Pole {view.pole_id}".encode()
        content = (
            b'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>' + title + b"</title>"
            b"<style>svg{max-width:100%;height:auto}</style>\n" + drawing + b"</html>\n"
        )
    write_bytes(target, content)


def draw(view: DayView) -> Figure:
    """The figure: power above, voltage below it, events at the bottom."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    zone = ZoneInfo(view.time_zone)
    times = [datetime.fromtimestamp(ms / 1000, zone) for ms in view.start_ms.tolist()]
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    power, volts, events = figure.subplots(3, 1, sharex=True, height_ratios=[2, 2, 1.3])
    power.fill_between(times, view.power_kw, 0, color="#2a6fbb", alpha=0.25, linewidth=0)
    power.plot(times, view.power_kw, color="#2a6fbb", linewidth=0.9)
    power.set_ylabel("power (kW)")
    meters = "1 meter" if view.meters == 1 else f"{view.meters} meters"
    power.set_title(f"Pole {view.pole_id}, {meters}, {times[0]:%A %Y-%m-%d}", loc="left")
    volts.fill_between(
        times,
        view.low_v,
        view.high_v,
        color="#7a808a",
        alpha=0.6,
        linewidth=0,
        label="lowest to highest meter",
    )
    volts.plot(times, view.mean_v, color="#1b1f24", linewidth=0.8, label="mean")
    volts.axhline(
        view.threshold_v,
        color="#a3243b",
        linewidth=0.8,
        linestyle="--",
        label=f"low below {view.threshold_v:.0f} V",
    )
    volts.set_ylabel("voltage (V)")
    volts.legend(loc="lower left", fontsize=7, ncols=3, framealpha=0.8)
    _draw_events(events, view, zone)
    locator = AutoDateLocator(tz=zone)
    events.xaxis.set_major_locator(locator)
    events.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))
    events.set_xlabel(f"local time ({view.time_zone})")
    for axes in (power, volts, events):
        axes.grid(color="#d8dbe0", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0)
    return figure


def _draw_events(axes: Axes, view: DayView, zone: ZoneInfo) -> None:
    for scope, colour in _SCOPE_COLOURS.items():
        mine = [event for event in view.events if event.scope == scope]
        if not mine:
            continue
        axes.scatter(
            np.array([event.start.astimezone(zone) for event in mine], dtype=object),
            [100 * event.depth_pu for event in mine],
            s=[12 + 0.8 * min(event.duration_s, 60) for event in mine],
            facecolors=[colour if event.duration_s >= EVENT_S else "none" for event in mine],
            edgecolors=colour,
            linewidths=0.8,
            alpha=0.85,
            label=scope if scope != "none" else "outage",
        )
    axes.axhline(0, color="#8a8f98", linewidth=0.6)
    axes.set_ylabel("depth (% of nominal)")
    if view.events:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            fontsize=7,
            ncols=4,
            frameon=False,
            borderaxespad=0.2,
        )
        axes.set_title("hollow: shorter than 5 s", loc="right", fontsize=7)
    else:
        axes.text(0.5, 0.5, "nothing was injected", transform=axes.transAxes, ha="center")
