"""Demand response: takes a window and a method, gives baseline, actual, shed and their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from ami_dashboard import charts, frame, looks
from ami_dashboard.client import ApiProblem, utc_time
from ami_dashboard.clock import local_text, zone_text
from ami_dashboard.words import (
    ADJUSTMENTS,
    GATES,
    METHODS,
    REASONS,
    number,
    percent,
    plural,
)

Json = dict[str, Any]
OWN_WINDOW: Final = "a window of my own"
_GATE_COLORS: Final = {
    "pass": (looks.GREEN, "#E6F5F0"),
    "fail": (looks.VERMILION, "#FCEDE6"),
    "not_assessable": (looks.SOFT, "#F3F4F6"),
}
_LIMIT: Final = "RRMSE up to 20 %"


def show() -> None:
    """Draw the page."""
    with frame.guarded():
        _body()


def _body() -> None:
    poles, zone, freshness = frame.poles_and_zone()
    newest = frame.newest_end(freshness)
    frame.heading("Demand response", zone, utc_time(freshness["marts_newest_event_ts"]))
    asked = _question(poles, zone, newest)
    if asked is None:
        return
    start, end, chosen, method, adjustment = asked
    result = frame.api().dr_compute(start, end, chosen, method, adjustment)
    _figures(result)
    _chart(result, zone)
    _poles(result)
    _downloads(result, zone)
    if st.toggle("Compare all six methods", key="compare"):
        _comparison(start, end, chosen, method, adjustment)


def _question(
    poles: Sequence[Json], zone: ZoneInfo, newest: datetime
) -> tuple[datetime, datetime, list[str], str, str] | None:
    called_events = frame.api().dr_events()
    frame.tell_if_cut(called_events, "events, the newest,")
    events = {event["event_id"]: event for event in called_events}
    names = [pole["pole_id"] for pole in poles if pole["last_seen_ts"]]
    first = next(iter(events.values()), None)
    is_first_visit = "from" not in st.session_state and "from" not in st.query_params
    if first and is_first_visit:
        _take(first, zone, names)
    default = next(iter(events), OWN_WINDOW) if is_first_visit else OWN_WINDOW
    # Yesterday evening, the usual window.
    evening = newest.astimezone(zone).replace(hour=16, minute=0, second=0) - timedelta(days=1)
    with st.container(border=True):
        top = st.columns([1.1, 1.1, 1.1, 1])
        with top[0]:
            frame.from_link("called", default, parse=str, allowed=[*events, OWN_WINDOW])
            called = st.selectbox(
                "Called event",
                [*events, OWN_WINDOW],
                key="called",
                on_change=lambda: _take(events.get(st.session_state["called"]), zone, names),
            )
        with top[1]:
            start = frame.time_box("Start", "from", evening, zone)
        with top[2]:
            end = frame.time_box("End", "to", evening + timedelta(hours=4), zone)
        with top[3]:
            method = frame.choice(
                "Baseline method",
                list(METHODS),
                "method",
                "caiso_10_of_10",
                text=METHODS.__getitem__,
            )
        below = st.columns([3.2, 1])
        with below[1]:
            adjustment = frame.choice(
                "Adjustment by the hours before",
                list(ADJUSTMENTS),
                "adjustment",
                "own",
                text=ADJUSTMENTS.__getitem__,
            )
        with below[0]:
            frame.from_link("poles", [], parse=_listed(names))
            chosen = st.multiselect("Poles", names, key="poles", placeholder="all poles")
            frame.into_link("poles", ",".join(chosen) or None)
    event = events.get(called or "")
    is_event = event is not None and (start, end) == (
        utc_time(event["start"]),
        utc_time(event["end"]),
    )
    frame.into_link("called", called if is_event else OWN_WINDOW)
    if event is not None and is_event and event["program"]:
        st.caption(
            f"Program: {event['program']}." + (f" {event['notes']}" if event["notes"] else "")
        )
    if start >= end:
        st.warning("**Start** is not before **End**: choose an earlier start or a later end.")
        return None
    return start, end, chosen, method, adjustment


def _listed(names: Sequence[str]) -> Any:
    return lambda text: [name for name in text.split(",") if name in names]


def _take(event: Json | None, zone: ZoneInfo, names: Sequence[str]) -> None:
    """Put the window and poles of a called event into the boxes."""
    if event is None:
        return
    for name, at in (("from", event["start"]), ("to", event["end"])):
        st.session_state[name] = utc_time(at).astimezone(zone).replace(tzinfo=None)
    called = event["pole_ids"]
    st.session_state["poles"] = [] if called == "all" else [p for p in called if p in names]


def _figures(result: Json) -> None:
    total, accuracy = result["total"], result["accuracy"]
    columns = st.columns([1, 1, 1, 1, 1, 1.7])
    columns[0].metric("Shed", number(total["shed_kwh"], "kWh"))
    columns[1].metric("of the baseline", number(total["shed_pct"], "%"))
    columns[2].metric("Baseline", number(total["baseline_kwh"], "kWh"))
    columns[3].metric("Actual", number(total["actual_kwh"], "kWh"))
    columns[4].metric(
        "Rebound", number(total["rebound_kwh"], "kWh"), help="Extra use in the 2 h after."
    )
    counts = (
        (accuracy["passed"], "pass"),
        (accuracy["failed"], "fail"),
        (accuracy["not_assessable"], "not assessable"),
    )
    color, paper = _GATE_COLORS[accuracy["gate"]]
    with columns[5]:
        frame.verdict(
            f"accuracy gate ({_LIMIT})",
            GATES[accuracy["gate"]],
            f"poles: {', '.join(f'{count} {word}' for count, word in counts if count)}; "
            f"slots known: {percent(total['coverage'], 0)}",
            color,
            paper,
        )
    if total["unknown_poles"]:
        st.warning(
            f"**No total**, because it is not known for {', '.join(total['unknown_poles'])}. "
            "Choose poles or another method; what is unknown is never taken for 0.",
            icon=":material/warning:",
        )


def _chart(result: Json, zone: ZoneInfo) -> None:
    frame_ = charts.dr_frame(result["intervals"], zone)
    if frame_.empty:
        st.info("There are no 5-minute slots around this window.")
        return
    slots = [utc_time(each["slot_ts"]) for each in result["intervals"]]
    view = frame.view_of(min(slots), max(slots) + frame.SLOT, zone)
    st.subheader("Baseline and actual power")
    st.altair_chart(
        charts.dr_chart(frame_, view),
        theme=None,
        alt="Baseline and actual power of all chosen poles with what was shed between them.",
    )
    start, end = result["window"]["start"], result["window"]["end"]
    st.caption(
        f"Event {local_text(start, zone, seconds=False)} to {local_text(end, zone, seconds=False)} "
        f"({zone_text(zone, utc_time(start))}), shaded. Method {METHODS[result['method']]}, "
        f"adjustment {result['adjustment']}. Shown from 4 h before to 2 h after."
    )


def pole_frame(poles: Sequence[Json]) -> pd.DataFrame:
    """Poles as a table in words, the largest shed first."""
    ordered = sorted(
        poles,
        key=lambda pole: (pole["shed_kwh"] is None, -(pole["shed_kwh"] or 0), pole["pole_id"]),
    )

    def accuracy(pole: Json, name: str) -> float | None:
        value = pole["accuracy"][name] if pole["accuracy"] else None
        return None if value is None else 100 * value

    return pd.DataFrame(
        {
            "Pole": [pole["pole_id"] for pole in ordered],
            "Shed [kWh]": [pole["shed_kwh"] for pole in ordered],
            "Shed [%]": [pole["shed_pct"] for pole in ordered],
            "Baseline [kWh]": [pole["baseline_kwh"] for pole in ordered],
            "Actual [kWh]": [pole["actual_kwh"] for pole in ordered],
            "Rebound [kWh]": [pole["rebound_kwh"] for pole in ordered],
            "Gate": [
                GATES[pole["accuracy"]["gate"] if pole["accuracy"] else "not_assessable"]
                for pole in ordered
            ],
            "RRMSE [%]": [accuracy(pole, "rrmse") for pole in ordered],
            "Bias [%]": [accuracy(pole, "bias") for pole in ordered],
            "Why unknown": [
                REASONS.get(pole["null_reason"], (pole["null_reason"] or "").replace("_", " "))
                for pole in ordered
            ],
        }
    )


def _poles(result: Json) -> None:
    st.subheader("Pole by pole")
    table = pole_frame(result["poles"])
    if not table["Why unknown"].any():
        table = table.drop(columns=["Why unknown"])
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%.2f" if "kWh" in name else "%.1f")
            for name in table.columns
            if "[" in name
        },
    )
    st.caption(
        "RRMSE and bias say how far the method is off on days without an event, at the usual "
        "window; the gate passes up to 20 %. It is not assessable under 20 such days."
    )


def _downloads(result: Json, zone: ZoneInfo) -> None:
    intervals = pd.DataFrame(result["intervals"])
    intervals.insert(1, "local_time", [local_text(at, zone) for at in intervals["slot_ts"]])
    flat = pd.json_normalize(result["poles"])
    with st.container(horizontal=True):
        st.download_button(
            "Slots as CSV",
            intervals.to_csv(index=False).encode(),
            f"dr-{result['method']}-slots.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Poles as CSV",
            flat.to_csv(index=False).encode(),
            f"dr-{result['method']}-poles.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _comparison(
    start: datetime, end: datetime, poles: list[str], chosen: str, adjustment: str
) -> None:
    sheds: list[float | None] = []
    unknown = []
    for method, name in METHODS.items():
        try:
            shed = frame.api().dr_compute(start, end, poles, method, adjustment)["total"][
                "shed_kwh"
            ]
        except ApiProblem as problem:
            if problem.kind != "no-history":
                raise
            shed = None
        sheds.append(shed)
        if shed is None:
            unknown.append(name)
    st.altair_chart(
        charts.bars_chart(list(METHODS.values()), sheds, "shed [kWh]", chosen=METHODS[chosen]),
        theme=None,
        alt="Shed by each of the six baseline methods.",
    )
    if unknown:
        st.caption(f"Not known by {plural(len(unknown), 'method')}: {', '.join(unknown)}.")


if __name__ == "__main__":
    show()
