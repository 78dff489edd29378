"""A low-voltage event: reads its traces, gives what 1-second meters see and slower ones do not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import streamlit as st

from ami_dashboard import charts, frame, looks
from ami_dashboard.client import ApiProblem, utc_time
from ami_dashboard.clock import local_text, zone_text
from ami_dashboard.limits import Limits, limits_of, ranges_text
from ami_dashboard.words import SCOPES, duration, number, plural

Json = dict[str, Any]
_RANGES: Final = ("24h", "7d", "31d", "custom")
_AROUND_S: Final = 60.0
# Meters that sag together start within this of each other.
_TOGETHER: Final = timedelta(seconds=3)
_MOST_POLES: Final = 6
_SLOWER: Final = {300: "5-minute meter", 900: "15-minute meter", 3600: "60-minute meter"}
_HEIGHT: Final = 340
BLIND: Final = "sees nothing"
_GREEN_PAPER, _RED_PAPER, _GREY_PAPER = "#E6F5F0", "#FCEDE6", "#F3F4F6"


def show() -> None:
    """Draw the page."""
    frame.live(_body)


def _body() -> None:
    poles, zone, freshness = frame.poles_and_zone()
    st.title("Low-voltage events")
    newest = utc_time(freshness["marts_newest_event_ts"])
    st.caption(f"All times are local: {zone_text(zone, newest)}.")
    # What comes next belongs to a window that ends now, so that provisional events are in it.
    view = frame.window(frame.newest_end(freshness), zone, _RANGES, "24h")
    if view is None:
        return
    is_now = st.session_state["range"] != "custom"
    listed = frame.api().anomalies(view.start, None if is_now else view.end)
    event = _chosen(listed, zone)
    if event is None:
        st.info(
            "**No low-voltage event in this window.** No meter was below the threshold for 5 s or "
            "longer; choose a longer window."
        )
        return
    _detail(event, poles)


def _chosen(listed: Json, zone: ZoneInfo) -> Json | None:
    events = {event["event_id"]: event for event in listed["anomalies"]}
    linked = st.query_params.get("event")
    if linked and linked not in events:
        try:
            events[linked] = frame.api().anomaly(linked, 0)["anomaly"]
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
            st.warning(f"**{problem.title}.** {problem.detail}", icon=":material/info:")
            st.query_params.pop("event", None)
    if not events:
        return None
    more = " (the newest 1,000)" if listed["next_cursor"] else ""
    chosen = frame.choice(
        f"{plural(len(events), 'event')}{more}",
        list(events),
        "event",
        next(iter(events)),
        text=lambda event_id: frame.event_text(events[event_id], zone),
        help_="Type to search for a meter or a time.",
    )
    return events[chosen]


def concerned(event: Json) -> list[Json]:
    """Events that began with this one: on its pole, or anywhere when it reached the feeder."""
    start = utc_time(event["start_ts"])
    pole = None if event["scope"] == "feeder" else event["pole_id"]
    found = frame.api().anomalies(
        start - _TOGETHER, start + _TOGETHER + timedelta(seconds=1), most=200, pole_id=pole
    )["anomalies"]
    return [each for each in found if each["scope"] == event["scope"]] or [event]


def all_traces(event: Json, others: Sequence[Json]) -> tuple[Json, list[Json]]:
    """The event's detail, and traces of every pole that it reached."""
    api = frame.api()
    detail = api.anomaly(event["event_id"], _AROUND_S)
    traces = list(detail["traces"])
    one_of_each = {each["pole_id"]: each for each in others if each["pole_id"] != event["pole_id"]}
    for other in list(one_of_each.values())[:_MOST_POLES]:
        traces += api.anomaly(other["event_id"], _AROUND_S)["traces"]
    return detail, traces


def _detail(listed: Json, poles: Sequence[Json]) -> None:
    others = concerned(listed)
    detail, traces = all_traces(listed, others)
    event = detail["anomaly"]
    pole = next((each for each in poles if each["pole_id"] == event["pole_id"]), None)
    zone = ZoneInfo(pole["time_zone"]) if pole else ZoneInfo("UTC")
    limits = limits_of(round(event["min_voltage_v"] / event["min_voltage_pu"], 1))
    mark = looks.SEVERITIES[event["severity"]]
    if event["provisional"]:
        st.warning(
            "**Provisional.** Found in readings that no build has seen; scope and bounds may "
            "change with the next build, a few minutes from now.",
            icon=":material/hourglass_top:",
        )
    columns = st.columns(4)
    columns[0].metric("Lasted", duration(event["duration_s"]))
    columns[1].metric("Lowest voltage", number(event["min_voltage_v"], "V"))
    columns[2].metric("Severity", mark.text)
    columns[3].metric("Reached", SCOPES[event["scope"]])
    st.subheader(headline(event, detail["interval_means"], limits))
    _contrast(detail, traces, {each["meter_id"] for each in others}, limits, zone)
    _words(event, others, detail, zone)


def headline(event: Json, means: Sequence[Json], limits: Limits) -> str:
    """What the contrast shows, in a sentence."""
    sag = f"{duration(event['duration_s'])} down to {event['min_voltage_v']:.0f} V"
    if not means:
        return f"{sag}, seen as it happened"
    blind = [
        f"{interval_s // 60}"
        for interval_s in _SLOWER
        if seen([m for m in means if m["interval_s"] == interval_s], limits)[0] == BLIND
    ]
    if not blind:
        return f"{sag}, so long that slower meters see it too"
    listed = " or ".join([", ".join(blind[:-1]), blind[-1]] if len(blind) > 1 else blind)
    return f"{sag}. A meter that reports every {listed} minutes sees nothing of it"


def _contrast(
    detail: Json, traces: Sequence[Json], low_meters: set[str], limits: Limits, zone: ZoneInfo
) -> None:
    event = detail["anomaly"]
    view = frame.view_of(
        utc_time(detail["window"]["start"]), utc_time(detail["window"]["end"]), zone
    )
    drawn = charts.trace_frame(traces, event, low_meters, zone)
    if drawn.empty:
        st.info("The readings around this event are no longer stored; its figures stay.")
        return
    domain = charts.voltage_domain(drawn, limits)
    fast, *slow = st.columns([2.3, 1, 1, 1])
    with fast:
        frame.verdict(
            f"every reading ({_interval_text(event)} apart)",
            f"{duration(event['duration_s'])} below {limits.low_v:g} V",
            f"down to {event['min_voltage_v']:.1f} V, {event['min_voltage_pu']:.2f} of nominal, "
            f"on {plural(len(low_meters), 'meter')}",
            looks.VERMILION,
            _RED_PAPER,
        )
        st.altair_chart(
            charts.trace_chart(drawn, event, limits, view, _HEIGHT),
            theme=None,
            alt=f"Voltage of all meters around the event of {event['meter_id']}.",
        )
    for column, (interval_s, name) in zip(slow, _SLOWER.items(), strict=True):
        means = [mean for mean in detail["interval_means"] if mean["interval_s"] == interval_s]
        with column:
            _slower(name, means, interval_s, domain, limits, view)
    st.caption(
        f"The same event on the same axis. First: every reading of every meter, {_AROUND_S:g} s "
        "before and after. Then: the mean voltage that a meter of longer intervals stores of that "
        f"time. {ranges_text(limits)}"
    )


def _interval_text(event: Json) -> str:
    samples = event["sample_count"] + event["missing_count"]
    return duration(event["duration_s"] / samples) if samples else "unknown"


def seen(means: Sequence[Json], limits: Limits) -> tuple[str, str, str, str]:
    """What means of an interval tell of a sag: in large letters, why, and two colours."""
    if not means:
        return "not known yet", "after the next build", looks.SOFT, _GREY_PAPER
    lowest = min(mean["mean_voltage_v"] for mean in means)
    if lowest < limits.low_v:
        return "sees it", f"its mean is {lowest:.1f} V", looks.VERMILION, _RED_PAPER
    return BLIND, f"its mean is {lowest:.1f} V", looks.GREEN, _GREEN_PAPER


def _slower(
    name: str,
    means: Sequence[Json],
    interval_s: int,
    domain: tuple[float, float],
    limits: Limits,
    view: charts.View,
) -> None:
    what, why, color, paper = seen(means, limits)
    frame.verdict(name, what, why, color, paper)
    if means:
        st.altair_chart(
            charts.interval_chart(means, interval_s, domain, limits, view, _HEIGHT),
            theme=None,
            alt=f"{name}: {what}, {why}.",
        )


def _words(event: Json, others: Sequence[Json], detail: Json, zone: ZoneInfo) -> None:
    begin, end = local_text(event["start_ts"], zone), local_text(event["end_ts"], zone)
    readings = plural(event["sample_count"], "low reading")
    ended = f"Ended by {event['ended_by']}" + (", may still go on" if event["is_open"] else "")
    standard = event["ieee1159_class"].replace("_", " ")
    lines = [
        f"First low reading {begin}, last {end}; mean of them {event['mean_voltage_v']:.1f} V.",
        f"{readings}, {event['missing_count']} missing among them. {ended}.",
        f"IEEE 1159 class: {standard}.",
    ]
    if event["coarse"]:
        lines.append(
            "**Coarse**: the meter samples too seldom to tell seconds; the duration is a bound."
        )
    if event["truncated_start"] or event["truncated_end"]:
        which = [
            word
            for word, is_cut in (
                ("begin", event["truncated_start"]),
                ("end", event["truncated_end"]),
            )
            if is_cut
        ]
        lines.append(f"Its {' and '.join(which)} is bounded by a gap in the readings.")
    if detail["traces_truncated"]:
        lines.append("The traces show its beginning.")
    st.markdown("\n".join(f"- {line}" for line in lines))
    columns = st.columns(2)
    with columns[0]:
        st.page_link(
            frame.POLE,
            label=f"Open {event['pole_id']}",
            icon=":material/cell_tower:",
            query_params={"pole": event["pole_id"]},
        )
    if len(others) > 1:
        with st.expander(f"{plural(len(others), 'meter')} together"):
            for other in sorted(others, key=lambda each: str(each["meter_id"])):
                st.page_link(
                    frame.EVENT,
                    label=frame.event_text(other, zone),
                    query_params={"event": other["event_id"]},
                )


if __name__ == "__main__":
    show()
