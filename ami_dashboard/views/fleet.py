"""The fleet: reads poles, freshness and events, gives their condition at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from ami_dashboard import charts, frame, looks
from ami_dashboard.client import utc_time
from ami_dashboard.clock import local_text
from ami_dashboard.words import duration, plural

Json = dict[str, Any]
_NEWEST_EVENTS: Final = 8
_MOST_NAMED: Final = 8
_STALE_WORDS: Final = {
    "pipeline": "nothing arrives: see Pub/Sub and the ingest",
    "orchestration": "readings arrive and the marts are old: see the builds in Dagster",
}


def hops(freshness: Json) -> list[tuple[str, str, str, str]]:
    """A card per hop of a reading's way: colour, name, how it is, since when."""
    stale: dict[str, list[Json]] = {}
    for each in freshness["stale"]:
        stale.setdefault(each["hop"], []).append(each)
    at = utc_time(freshness["at"])

    def age(text: str | None) -> str:
        return duration((at - utc_time(text)).total_seconds()) if text else "unknown"

    def card(
        hop: str, name: str, good: str, small: str, *, counts: bool = False
    ) -> tuple[str, str, str, str]:
        found = stale.get(hop, [])
        if not found:
            return looks.GREEN, name, f"● {good}", small
        text = plural(len(found), f"silent {hop}") if counts else "stale"
        return looks.VERMILION, name, f"◆ {text}", small

    heard = sum(pole["is_fresh"] for pole in freshness["poles"])
    every = len(freshness["poles"])
    objective = duration(freshness["streaming_objective_s"])
    landed = freshness["landed_newest_event_ts"]
    return [
        card("meter", "Meters", "all heard", f"objective: newer than {objective}", counts=True),
        card(
            "pole",
            "Poles, gateways",
            "all heard",
            f"{heard} of {every} in time",
            counts=True,
        ),
        card(
            "pipeline",
            "Ingest",
            "stores",
            f"newest stored reading {age(landed)} old" if landed else "storage is not asked here",
        ),
        card(
            "orchestration",
            "Warehouse",
            "follows",
            f"newest reading in it {age(freshness['marts_newest_event_ts'])} old, published "
            f"{duration(freshness['published_age_s'])} ago",
        ),
    ]


def stale_text(stale: Sequence[Json], zone: ZoneInfo) -> str:
    """What is stale, one line each."""
    lines = []
    for each in stale[:_MOST_NAMED]:
        since = local_text(each["since_ts"], zone) if each["since_ts"] else "the beginning"
        what = _STALE_WORDS.get(each["hop"], f"{each['hop']} **{each['subject']}** is silent")
        lines.append(f"- {what}, since {since}")
    if len(stale) > _MOST_NAMED:
        lines.append(f"- and {len(stale) - _MOST_NAMED:,} more")
    return "\n".join(lines)


def pole_table(poles: Sequence[Json]) -> pd.DataFrame:
    """Poles, the worst first, those that are unknown before all."""
    ordered = sorted(
        poles,
        key=lambda pole: (
            -1.0 if pole["health_score"] is None else pole["health_score"],
            pole["pole_id"],
        ),
    )
    return pd.DataFrame(
        {
            "Pole": [pole["pole_id"] for pole in ordered],
            "Feeder": [pole["feeder_id"] for pole in ordered],
            "Condition": [looks.condition(pole["health_score"]).text for pole in ordered],
            "Health": [pole["health_score"] for pole in ordered],
            "Lowest [V]": [pole["min_voltage_v"] for pole in ordered],
            "Peak [kW]": [pole["peak_kw"] for pole in ordered],
            "Loading [%]": [_percent(pole["loading"]) for pole in ordered],
            "Missing [%]": [_percent(pole["missing_rate"]) for pole in ordered],
            "Events": [_events(pole) for pole in ordered],
            "Meters": [pole["meters_registered"] + pole["meters_unregistered"] for pole in ordered],
        }
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _events(pole: Json) -> int | None:
    counts = [pole[name] for name in ("events_minor", "events_major", "events_critical")]
    return None if None in counts else sum(counts)


def show() -> None:
    """Draw the page."""
    frame.live(_body)


def _body() -> None:
    poles, zone, freshness = frame.poles_and_zone()
    newest = utc_time(freshness["marts_newest_event_ts"])
    frame.heading("Fleet", zone, newest)
    events = frame.api().anomalies(newest - timedelta(hours=24), None)
    _figures(poles, events)
    frame.chips(hops(freshness))
    if freshness["stale"]:
        with st.expander(plural(len(freshness["stale"]), "cause") + " of stale data"):
            st.markdown(stale_text(freshness["stale"], zone))
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        _picture(poles)
    with right:
        _newest_events(events["anomalies"], events["live_tail"], zone)
    _table(poles, newest, zone)


def _figures(poles: Sequence[Json], events: Json) -> None:
    counted = Counter(looks.condition(pole["health_score"]) for pole in poles)
    found = events["anomalies"]
    more = "+" if events["next_cursor"] else ""
    columns = st.columns(5)
    for column, mark in zip(columns, looks.CONDITIONS, strict=False):
        column.metric(mark.colored, plural(counted[mark], "pole"))
    columns[4].metric("Low-voltage events, 24 h", f"{len(found):,}{more}")


def _picture(poles: Sequence[Json]) -> None:
    st.subheader("Feeders and poles")
    placed = any(pole["latitude"] is not None and pole["longitude"] is not None for pole in poles)
    views = ["schematic", "map"] if placed else ["schematic"]
    is_map = frame.buttons("View", views, "view", "schematic", str.capitalize) == "map"
    drawn = charts.fleet_frame(poles, is_map=is_map)
    event = st.altair_chart(
        charts.fleet_chart(drawn, is_map=is_map),
        theme=None,
        on_select="rerun",
        key=f"fleet {is_map}",
        alt="Feeders with their poles by health; the table below says the same in words.",
    )
    chosen = event.get("selection", {}).get("chosen", []) if event else []
    if chosen:
        st.switch_page(frame.POLE, query_params={"pole": chosen[0]["pole"]})
    words = (
        f"Health of the newest hour, 0 to 100: {looks.GOOD.text} from {looks.GOOD_FROM:g}, "
        f"{looks.WATCH.text} from {looks.WATCH_FROM:g}, {looks.POOR.text} below, "
        f"{looks.NOTHING_KNOWN.text} without enough data. Click on a pole to open it."
    )
    left_out = len(poles) - len(drawn)
    if is_map and left_out:
        words += f" {plural(left_out, 'pole')} without coordinates in the registry."
    st.caption(words)


def _newest_events(events: Sequence[Json], tail: str, zone: ZoneInfo) -> None:
    st.subheader("Newest low-voltage events")
    if not events:
        st.info("No meter was below the low-voltage threshold for 5 s or longer in 24 hours.")
    for event in grouped(events)[:_NEWEST_EVENTS]:
        st.page_link(
            frame.EVENT,
            label=_event_label(event, zone),
            query_params={"event": event["event_id"]},
        )
    if tail == "unavailable":
        st.caption("What the last build has not seen cannot be told at the moment.")


def grouped(events: Sequence[Json]) -> list[Json]:
    """One event for all that meters of a pole or feeder saw at once: the lowest, with `meters`."""
    found: dict[tuple[object, ...], list[Json]] = {}
    for event in events:
        second = event["start_ts"][:19]
        is_wide = event["scope"] in ("pole", "feeder")
        where = event["scope"] if event["scope"] == "feeder" else event["pole_id"]
        key = (second, event["scope"], where) if is_wide else (event["event_id"],)
        found.setdefault(key, []).append(event)
    return [
        {**min(same, key=lambda each: each["min_voltage_v"]), "meters": len(same)}
        for same in found.values()
    ]


def _event_label(event: Json, zone: ZoneInfo) -> str:
    mark = looks.SEVERITIES[event["severity"]]
    where = event["meter_id"]
    if event["meters"] > 1:
        where = f"{plural(event['meters'], 'meter')} with {event['pole_id']}"
    words = [
        f":{mark.markdown}[{mark.sign}] **{local_text(event['start_ts'], zone)}**",
        where,
        f"{event['duration_s']:.0f} s down to {event['min_voltage_v']:.0f} V",
        mark.word,
    ]
    if event["provisional"]:
        words.append("**provisional**")
    return " · ".join(words)


def _table(poles: Sequence[Json], newest: datetime, zone: ZoneInfo) -> None:
    st.subheader("Poles, the worst first")
    if not poles:
        st.info("Neither a reading nor the registry names a pole yet.")
        return
    whole = st.column_config.NumberColumn(format="%.0f")
    one = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(
        pole_table(poles),
        hide_index=True,
        column_config={
            "Health": st.column_config.ProgressColumn(format="%.0f", min_value=0, max_value=100),
            "Lowest [V]": one,
            "Peak [kW]": st.column_config.NumberColumn(format="%.2f"),
            "Loading [%]": whole,
            "Missing [%]": st.column_config.NumberColumn(format="%.2f"),
            "Events": whole,
        },
    )
    st.caption(
        "Condition in the newest hour of each pole's data; a pole without one in the day before "
        f"{local_text(newest, zone)} is unknown."
    )


if __name__ == "__main__":
    show()
