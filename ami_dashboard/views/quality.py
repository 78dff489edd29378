"""Data quality: reads counts by the hour and the meter, gives what is missing, late and refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from ami_dashboard import charts, frame
from ami_dashboard.charts import View
from ami_dashboard.client import utc_time
from ami_dashboard.clock import local_text
from ami_dashboard.words import number, percent

Json = dict[str, Any]
_RANGES: Final = ("6h", "24h", "7d", "31d", "custom")
_EVERY: Final = "all poles"


def totals(hours: Sequence[Json]) -> dict[str, int]:
    """Sums over the hours of what is counted."""
    names = ("expected", "received", "missing", "lost", "not_sampled", "late", "duplicates")
    return {name: sum(hour[name] for hour in hours) for name in names}


def meter_table(meters: Sequence[Json]) -> pd.DataFrame:
    """Meters in service, the most incomplete first."""
    known = [meter for meter in meters if meter["expected"] or meter["stored_rows"]]
    ordered = sorted(known, key=lambda m: (-(m["missing_rate"] or 0), m["meter_id"]))
    return pd.DataFrame(
        {
            "Meter": [meter["meter_id"] for meter in ordered],
            "Pole": [meter["pole_id"] for meter in ordered],
            "Received [%]": [_percent(meter["coverage"]) for meter in ordered],
            "Missing": [meter["missing"] for meter in ordered],
            "lost": [meter["lost"] for meter in ordered],
            "never taken": [meter["not_sampled"] for meter in ordered],
            "Late": [meter["late"] for meter in ordered],
            "Copies": [meter["duplicates"] for meter in ordered],
            "Conflicts": [meter["conflicts"] for meter in ordered],
            "Interval [s]": [meter["sample_interval_ms"] / 1000 for meter in ordered],
            "Registry": ["✓" if meter["is_registered"] else "✕ unknown" for meter in ordered],
        }
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def show() -> None:
    """Draw the page."""
    frame.live(_body)


def _body() -> None:
    poles, zone, freshness = frame.poles_and_zone()
    frame.heading("Data quality", zone, utc_time(freshness["marts_newest_event_ts"]))
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        names = [_EVERY, *(pole["pole_id"] for pole in poles)]
        pole = frame.choice("Pole", names, "of", _EVERY)
    with right:
        view = frame.window(frame.newest_end(freshness), zone, _RANGES, "24h")
    if view is None:
        return
    api = frame.api()
    quality = api.quality(view.start, view.end, None if pole == _EVERY else pole)
    letters = api.dead_letters(view.start, view.end)
    if quality["hours"]:
        _figures(totals(quality["hours"]), letters)
        _hours(quality, view)
        frame.tell_if_cut(quality["meters"], "meters")
        _meters(quality["meters"])
    else:
        st.info(
            "**Nothing was expected in this window.** No meter was in service; choose a window "
            "after the first readings."
        )
    _letters(letters, view)


def _figures(total: dict[str, int], letters: Json) -> None:
    expected = total["expected"] or None
    columns = st.columns(5)
    columns[0].metric(
        "Received",
        percent(total["received"] / expected if expected else None, 2),
        help=f"{total['received']:,} of {total['expected']:,} readings.",
    )
    columns[1].metric("Missing", f"{total['missing']:,}", help="Expected and not received.")
    columns[2].metric(
        "Late", f"{total['late']:,}", help="Stored more than 2 min after they were taken."
    )
    columns[3].metric("Copies removed", f"{total['duplicates']:,}")
    refused = f"{letters['readings']:,}" if letters["is_known"] else number(None)
    columns[4].metric("Refused", refused, help="Readings in the dead letter, by arrival.")


def _hours(quality: Json, view: View) -> None:
    st.subheader("Missing readings by the hour")
    window = quality["window"]
    whole = frame.view_of(utc_time(window["start"]), utc_time(window["end"]), view.zone)
    st.altair_chart(
        charts.quality_chart(quality["hours"], whole),
        theme=None,
        alt="Share of expected readings that is missing, by the hour.",
    )
    st.caption(
        "Lost on the way: a hole in the meter's own count (`seq`). Never taken: the meter was "
        "without power or silent, its count shows no hole."
    )


def _meters(meters: Sequence[Json]) -> None:
    st.subheader("Meters, the most incomplete first")
    whole = st.column_config.NumberColumn(format="localized")
    st.dataframe(
        meter_table(meters),
        hide_index=True,
        column_config={
            "Received [%]": st.column_config.ProgressColumn(
                format="%.2f", min_value=0, max_value=100
            ),
            **dict.fromkeys(
                ("Missing", "lost", "never taken", "Late", "Copies", "Conflicts"), whole
            ),
            "Interval [s]": st.column_config.NumberColumn(format="%g"),
        },
    )
    st.caption("Readings in this window; missing = lost + never taken.")


def _letters(letters: Json, view: View) -> None:
    st.subheader("Dead letter: readings that were refused")
    if not letters["is_known"]:
        st.info(
            "The dead letter cannot be asked from here; `ami deadletter ls` counts it where the "
            "data lies."
        )
        return
    if not letters["reasons"]:
        st.success("Nothing was refused in this window.", icon=":material/check:")
        return
    reasons = letters["reasons"]
    st.dataframe(
        pd.DataFrame(
            {
                "Why": [each["code"].replace("_", " ") for each in reasons],
                "Field": [each["field"] or "–" for each in reasons],
                "Readings": [each["readings"] for each in reasons],
                "Letters": [each["letters"] for each in reasons],
                "First arrived": [local_text(each["first_ts"], view.zone) for each in reasons],
                "Last arrived": [local_text(each["last_ts"], view.zone) for each in reasons],
            }
        ),
        hide_index=True,
    )
    st.caption(
        "`ami deadletter ls --limit 20` lists them one by one, `ami deadletter show ID` prints "
        "one whole, `ami deadletter replay` puts back what is good by now."
    )


if __name__ == "__main__":
    show()
