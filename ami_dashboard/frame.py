"""What all pages share: reads settings and the link, gives the API, windows and plain errors."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import streamlit as st

from ami_contract.errors import AmiError
from ami_contract.settings import load_settings
from ami_dashboard import looks
from ami_dashboard.charts import View
from ami_dashboard.client import Api, ApiDown, ApiProblem, Rows, utc_time
from ami_dashboard.clock import instant, local_text, site_zone, zone_text

_T = TypeVar("_T")
Json = dict[str, Any]

FLEET: Final = "views/fleet.py"
POLE: Final = "views/pole.py"
EVENT: Final = "views/event.py"
DEMAND_RESPONSE: Final = "views/demand_response.py"
QUALITY: Final = "views/quality.py"

LIVE_S: Final = 10
_RETRY_S: Final = 5
SLOT: Final = timedelta(minutes=5)
RANGES: Final = {
    "6h": ("6 hours", timedelta(hours=6)),
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "31d": ("31 days", timedelta(days=31)),
    "custom": ("from … to", None),
}
_REMEDIES: Final = {
    "warehouse-absent": "Run `ami build` once readings have been stored; this page looks again "
    "every 5 seconds.",
    "warehouse-empty": "Publish readings (`ami simulate`, or `ami import` a file of yours) and "
    "run `ami build`; this page looks again every 5 seconds.",
    "warehouse-outdated": "Run `ami build` with this version.",
    "not-authenticated": "Set AMI_API_KEY to a key of AMI_API_KEYS and start the dashboard again.",
    "no-history": "Choose a later window, or a method that needs fewer days.",
    "not-built": "Choose an earlier window, or wait for the next build.",
    "window-in-future": "Choose a window that has ended.",
    "window": "Choose another window.",
    "timeout": "Choose a shorter window.",
}
_TRANSIENT: Final = frozenset({"warehouse-absent", "warehouse-empty", "warehouse", "busy"})
_STYLE: Final = f"""
<style>
.block-container {{padding-top: 4.2rem; padding-bottom: 3rem; max-width: 1280px}}
h1 {{font-size: 1.75rem !important; padding: 0 0 .2rem 0 !important}}
h2, h3 {{font-size: 1.1rem !important; padding: .5rem 0 .1rem 0 !important}}
[data-testid="stMetricValue"] {{font-size: 1.55rem; font-variant-numeric: tabular-nums}}
[data-testid="stMetric"] {{background: {looks.PANEL}; border-radius: .5rem; padding: .6rem .9rem}}
[data-testid="stVegaLiteChart"] {{margin-bottom: -1rem}}
[data-testid="stMetricLabel"] p {{color: {looks.SOFT}; font-size: .85rem}}
.chips {{display: flex; flex-wrap: wrap; gap: .4rem; align-items: stretch}}
.chip {{border: 1px solid {looks.LINE}; border-left-width: .35rem; border-radius: .4rem;
  padding: .35rem .7rem; background: {looks.PAPER}; flex: 1 1 10rem; line-height: 1.35}}
.chip b {{font-weight: 600}} .chip small {{color: {looks.SOFT}}}
.verdict {{border-radius: .5rem; padding: .55rem .8rem; line-height: 1.35; height: 100%}}
.verdict .who {{font-size: .85rem; color: {looks.SOFT}}}
.verdict .what {{font-size: 1.35rem; font-weight: 650}}
.verdict .why {{font-size: .88rem}}
[data-testid="stPageLink-NavLink"] * {{white-space: normal !important; overflow: visible}}
[data-testid="stPageLink-NavLink"] {{padding: .15rem .4rem}}
@media (max-width: 640px) {{
  [data-testid="stColumn"]:has([data-testid="stMetric"]) {{
    min-width: calc(50% - .5rem) !important; flex: 1 1 calc(50% - .5rem) !important}}
  .block-container {{padding-left: 1rem; padding-right: 1rem}}
  [data-testid="stMetricValue"] {{font-size: 1.3rem}}
}}
</style>
"""


@st.cache_resource(show_spinner=False)
def _connected(url: str, key: str) -> Api:
    return Api(url, key)


def api() -> Api:
    """The API that the settings name, one client for all sessions.

    Raises:
        SettingsError: a setting is wrong.
        ApiDown: the address is none.
    """
    settings = load_settings()
    url = settings.api_url or f"http://127.0.0.1:{settings.api_port}"
    key = settings.api_key.get_secret_value() or next(iter(settings.api_key_list), "")
    return _connected(url, key)


def style() -> None:
    """Spacing and sizes of all pages."""
    st.html(_STYLE)


@contextmanager
def guarded() -> Iterator[None]:
    """Show what goes wrong in the block as text that says what to do."""
    try:
        yield
    except ApiDown as error:
        st.error(
            f"**The API does not answer.** {error}\n\nStart it with `ami up` (everything) or "
            "`ami api` (alone); AMI_API_URL names another address. This page looks again every "
            f"{_RETRY_S} seconds.",
            icon=":material/cloud_off:",
        )
        _retry()
    except ApiProblem as problem:
        show = st.warning if problem.status < 500 else st.error
        remedy = _REMEDIES.get(problem.kind, "")
        show(
            f"**{problem.title}.** {problem.detail}" + (f"\n\n{remedy}" if remedy else ""),
            icon=":material/info:" if problem.kind in _TRANSIENT else ":material/warning:",
        )
        if problem.kind in _TRANSIENT:
            _retry()
    except AmiError as error:
        st.error(f"**This page cannot be shown.** {error}", icon=":material/warning:")


def _retry() -> None:
    started = st.session_state.get("retries", 0)

    @st.fragment(run_every=_RETRY_S)
    def again() -> None:
        # The first run is that of the page which has just failed.
        st.session_state["retries"] = st.session_state.get("retries", 0) + 1
        if st.session_state["retries"] > started + 1:
            st.rerun()

    again()


def live(body: Callable[[], None]) -> None:
    """Show `body` and show it anew every ten seconds; its widgets do not disturb the page."""

    @st.fragment(run_every=LIVE_S)
    def shown() -> None:
        with guarded():
            body()

    shown()


def from_link(
    name: str,
    default: _T,
    *,
    parse: Callable[[str], _T],
    allowed: Sequence[_T] | None = None,
) -> None:
    """Give the widget with key `name` the value of the link, unless it has one that is newer."""
    state = st.session_state
    said = st.query_params.get(name)
    if said is not None and (name not in state or said != state.get(_told(name))):
        try:
            value = parse(said)
        except ValueError:
            value = default
        if allowed is None or value in allowed:
            state[name] = value
    if name not in state or (allowed is not None and state[name] not in allowed):
        state[name] = default


def into_link(name: str, text: str | None) -> None:
    """Write a value into the link, so that it shows the same again; None takes it out."""
    if text is None:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != text:
        st.query_params[name] = text
    st.session_state[_told(name)] = text


def _told(name: str) -> str:
    return f"in link: {name}"


def choice(
    label: str,
    options: Sequence[str],
    name: str,
    default: str,
    *,
    text: Callable[[str], str] = str,
    help_: str | None = None,
) -> str:
    """A box to choose one of `options` from, which the link remembers."""
    from_link(name, default, parse=str, allowed=options)
    chosen = st.selectbox(label, options, key=name, format_func=text, help=help_)
    into_link(name, chosen or default)
    return chosen or default


def buttons(
    label: str, options: Sequence[str], name: str, default: str, text: Callable[[str], str]
) -> str:
    """Buttons of which one is pressed, which the link remembers."""
    from_link(name, default, parse=str, allowed=options)
    chosen = st.segmented_control(label, options, key=name, format_func=text, required=True)
    into_link(name, chosen or default)
    return chosen or default


def time_box(label: str, name: str, default: datetime, zone: ZoneInfo) -> datetime:
    """A box for a time on the site's clock; gives the instant."""
    wall = default.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
    from_link(name, wall, parse=_wall)
    found = st.datetime_input(f"{label} ({zone.key})", key=name, step=SLOT, format="YYYY-MM-DD")
    chosen: datetime = found if found is not None else wall
    into_link(name, chosen.isoformat(timespec="minutes"))
    return instant(chosen, zone)


def _wall(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is not None:
        raise ValueError("a wall-clock time has no offset")
    return found


def newest_end(freshness: Json) -> datetime:
    """The 5-minute mark after the newest reading of the marts; of the clock without any."""
    newest = utc_time(freshness["marts_newest_event_ts"] or freshness["at"])
    return newest - timedelta(
        minutes=newest.minute % 5, seconds=newest.second, microseconds=newest.microsecond
    ) + SLOT  # fmt: skip


def view_of(start: datetime, end: datetime, zone: ZoneInfo) -> View:
    """A window with its clock."""
    return View(start, end, zone, zone_text(zone, start))


def window(end: datetime, zone: ZoneInfo, ranges: Sequence[str], default: str) -> View | None:
    """The window that buttons and boxes choose; None, with a word, where it is none."""
    chosen = buttons("Time", ranges, "range", default, lambda name: RANGES[name][0])
    length = RANGES[chosen][1]
    if length is not None:
        into_link("from", None)
        into_link("to", None)
        return view_of(end - length, end, zone)
    left, right = st.columns(2)
    with left:
        start = time_box("From", "from", end - timedelta(hours=24), zone)
    with right:
        until = time_box("To", "to", end, zone)
    if start >= until:
        st.warning("**From** is not before **To**: choose an earlier begin or a later end.")
        return None
    return view_of(start, until, zone)


def heading(title: str, zone: ZoneInfo, at: datetime | None) -> None:
    """Title with the clock of all times on the page."""
    st.title(title)
    newest = f" Newest reading {local_text(at, zone)}." if at else ""
    named = zone_text(zone, at) if at else zone.key
    st.caption(f"All times are local: {named}.{newest}")


def poles_and_zone() -> tuple[list[Json], ZoneInfo, Json]:
    """All poles, the zone of most, and freshness; the page says when there are too many poles.

    Raises:
        ApiDown, ApiProblem: the API does not answer or refuses.
    """
    asked = api()
    freshness = asked.freshness()
    poles = asked.poles()
    tell_if_cut(poles, "poles")
    return poles, site_zone(poles), freshness


def tell_if_cut(rows: Rows, what: str) -> None:
    """Say on the page that a list of the API goes on, if it does."""
    if rows.is_cut:
        st.warning(f"This page knows the first {len(rows):,} {what} only; the API has all of them.")


def verdict(who: str, what: str, why: str, color: str, paper: str) -> None:
    """A card that says in large letters what somebody sees."""
    st.html(
        f'<div class="verdict" style="background:{paper};border-left:.4rem solid {color}">'
        f'<div class="who">{html.escape(who)}</div>'
        f'<div class="what" style="color:{color}">{html.escape(what)}</div>'
        f'<div class="why">{html.escape(why)}</div></div>'
    )


def chips(items: Sequence[tuple[str, str, str, str]]) -> None:
    """A row of cards, each of a colour, a name, a text and a small text."""
    cards = "".join(
        f'<div class="chip" style="border-left-color:{color}"><b>{html.escape(name)}</b><br>'
        f"{html.escape(text)}<br><small>{html.escape(small)}</small></div>"
        for color, name, text, small in items
    )
    st.html(f'<div class="chips">{cards}</div>')


def event_text(event: Json, zone: ZoneInfo) -> str:
    """An event in one line."""
    mark = looks.SEVERITIES[event["severity"]]
    provisional = " · provisional" if event["provisional"] else ""
    return (
        f"{mark.sign} {local_text(event['start_ts'], zone)} · {event['meter_id']} · "
        f"{event['duration_s']:.0f} s · {event['min_voltage_v']:.1f} V · "
        f"{mark.word}{provisional}"
    )
