"""A pole: reads its summary, series and events, gives load and voltage over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from ami_dashboard import charts, frame, looks
from ami_dashboard.charts import View
from ami_dashboard.clock import local_text, resolution_for
from ami_dashboard.limits import limits_of, ranges_text
from ami_dashboard.words import SCOPES, number, percent, plural

Json = dict[str, Any]
_RESOLUTIONS: Final = {
    "1m": "1-minute", "5m": "5-minute", "15m": "15-minute", "1h": "hourly", "1d": "daily",
}  # fmt: skip
_USUAL_NOMINAL_V: Final = 240.0


def show() -> None:
    """Draw the page."""
    frame.live(_body)


def _body() -> None:
    poles, _zone, freshness = frame.poles_and_zone()
    if not poles:
        st.info("Neither a reading nor the registry names a pole yet.")
        return
    names = [pole["pole_id"] for pole in poles]
    title = st.container()
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        chosen = frame.choice("Pole", names, "pole", names[0])
    pole = next(each for each in poles if each["pole_id"] == chosen)
    own_zone = ZoneInfo(pole["time_zone"])
    with right:
        view = frame.window(frame.newest_end(freshness), own_zone, list(frame.RANGES), "24h")
    with title:
        _title(pole, own_zone)
    if view is None:
        return
    if pole["last_seen_ts"] is None:
        st.info(
            f"**{chosen} has never reported.** The registry knows "
            f"{plural(pole['meters_registered'], 'meter')} on it. See that they are powered and "
            "that its gateway publishes; with `ami simulate` choose a config that has this pole."
        )
        return
    _window(pole, view)


def _title(pole: Json, zone: ZoneInfo) -> None:
    mark = looks.condition(pole["health_score"])
    st.title(pole["pole_id"])
    score = "" if pole["health_score"] is None else f" {pole['health_score']:.0f} of 100"
    rating = f"{pole['rated_kva']:g} kVA" if pole["rated_kva"] else "rating unknown"
    meters = plural(pole["meters_registered"] + pole["meters_unregistered"], "meter")
    known = "" if pole["is_registered"] else " · **not in the registry**"
    st.caption(
        f"{mark.text}{score} · feeder {pole['feeder_id'] or 'unknown'} · {meters} · {rating} · "
        f"times in {zone.key} · last heard {local_text(pole['last_seen_ts'], zone)}{known}"
    )


def _window(pole: Json, view: View) -> None:
    api = frame.api()
    name = pole["pole_id"]
    resolution = resolution_for(view.end - view.start)
    summary = api.summary(name, view.start, view.end)
    if not summary["power"]["slots"]:
        st.info(
            f"**No readings of {name} in this window.** The newest is of "
            f"{local_text(pole['last_seen_ts'], view.zone)}: choose a window that holds it."
        )
        return
    events = api.anomalies(view.start, view.end, pole_id=name)["anomalies"]
    nominals = {
        meter["nominal_voltage_v"] for meter in api.quality(view.start, view.end, name)["meters"]
    }
    limits = limits_of(min(nominals, default=_USUAL_NOMINAL_V))
    _figures(summary, view)
    st.subheader("Voltage")
    volts = api.series(name, "voltage_v", resolution, view.start, view.end)
    if volts:
        st.altair_chart(
            charts.voltage_chart(volts, resolution, events, limits, view),
            theme=None,
            alt=f"Voltage of {name}: mean and extremes, with the ranges of ANSI C84.1.",
        )
        st.caption(
            f"Line: {_RESOLUTIONS[resolution]} mean of all meters; light blue: lowest to highest "
            f"reading, where a sag of seconds shows. {ranges_text(limits)}"
        )
        if len(nominals) > 1:
            listed = ", ".join(f"{volts_:g}" for volts_ in sorted(nominals))
            st.caption(f"Its meters have different nominal voltages: {listed} V.")
    else:
        st.info("There are no minutes of this window; choose a longer one.")
    st.subheader("Load")
    power = api.series(name, "power_kw", resolution, view.start, view.end)
    if power:
        st.altair_chart(
            charts.load_chart(power, resolution, pole["rated_kva"], view),
            theme=None,
            alt=f"Power of {name}: mean and extremes.",
        )
        st.caption(
            f"Line: {_RESOLUTIONS[resolution]} mean of the whole pole, measured and estimated; "
            "band: least and most. Negative is export."
        )
    _events(events, view.zone)


def _figures(summary: Json, view: View) -> None:
    power, volts = summary["power"], summary["voltage"]
    events, health = summary["events"], summary["health"]
    first, second = st.columns(4), st.columns(4)
    first[0].metric("Energy", number(power["energy_kwh"], "kWh"))
    first[1].metric(
        "Peak, 5 minutes",
        number(power["peak_kw"], "kW", 2),
        help=f"First at {local_text(power['peak_slot_ts'], view.zone, seconds=False)}.",
    )
    first[2].metric("Lowest voltage", number(volts["min_voltage_v"], "V"))
    first[3].metric("Highest voltage", number(volts["max_voltage_v"], "V"))
    second[0].metric(
        "Low-voltage events",
        f"{events['events']:,}",
        help=f"{events['events_minor']} minor, {events['events_major']} major, "
        f"{events['events_critical']} critical.",
    )
    second[1].metric("Lowest hourly health", number(health["lowest_score"], "", 0))
    second[2].metric("Readings missing", percent(health["missing_rate"], 2))
    second[3].metric("Highest hourly loading", percent(health["highest_hourly_loading"], 0))


def event_table(events: Sequence[Json], zone: ZoneInfo) -> pd.DataFrame:
    """Events as a table in words."""
    return pd.DataFrame(
        {
            "Local time": [local_text(event["start_ts"], zone) for event in events],
            "Meter": [event["meter_id"] for event in events],
            "Lasted [s]": [event["duration_s"] for event in events],
            "Lowest [V]": [event["min_voltage_v"] for event in events],
            "Severity": [looks.SEVERITIES[event["severity"]].text for event in events],
            "Reached": [SCOPES[event["scope"]] for event in events],
            "State": ["provisional" if event["provisional"] else "built" for event in events],
        }
    )


def _events(events: Sequence[Json], zone: ZoneInfo) -> None:
    st.subheader("Low-voltage events in this window")
    if not events:
        st.info("No meter of this pole was low for 5 s or longer in this window.")
        return
    chosen = st.dataframe(
        event_table(events, zone),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="pole events",
        column_config={
            "Lasted [s]": st.column_config.NumberColumn(format="%.0f"),
            "Lowest [V]": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    rows = chosen["selection"]["rows"]
    if rows:
        st.switch_page(frame.EVENT, query_params={"event": events[rows[0]]["event_id"]})
    st.caption("Choose a row to see the event second by second.")


if __name__ == "__main__":
    show()
