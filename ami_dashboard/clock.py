"""Times as people at the site read them: takes instants and a zone, gives wall-clock values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from ami_dashboard.client import utc_time


def site_zone(poles: Iterable[dict[str, Any]]) -> ZoneInfo:
    """Zone that most of the poles are in; UTC without any."""
    found = Counter(pole["time_zone"] for pole in poles).most_common(1)
    return ZoneInfo(found[0][0]) if found else ZoneInfo("UTC")


def zone_text(zone: ZoneInfo, at: datetime) -> str:
    """Zone with its offset at a moment, such as `America/Los_Angeles, UTC−7`."""
    offset = at.astimezone(zone).utcoffset() or timedelta()
    minutes = int(offset.total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "−" if minutes < 0 else "+"
    text = f"UTC{sign}{hours}" + (f":{rest:02}" if rest else "")
    return f"{zone.key}, {text}"


def local_text(at: datetime | str | None, zone: ZoneInfo, *, seconds: bool = True) -> str:
    """Wall-clock time such as `2026-07-15 17:00:00`; a dash for none."""
    if at is None:
        return "–"
    instant = utc_time(at) if isinstance(at, str) else at
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M:%S}"[: None if seconds else -3]


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Instant of a wall-clock time; of an hour that autumn repeats, its first occurrence."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_clock(values: Any, zone: ZoneInfo) -> pd.Series:
    """Instants as wall-clock times that carry the mark UTC, which charts draw as they stand."""
    instants = pd.Series(pd.to_datetime(values, utc=True, format="ISO8601"))
    return instants.dt.tz_convert(zone).dt.tz_localize(None).dt.tz_localize("UTC")


def resolution_for(span: timedelta) -> str:
    """Resolution of a time series that gives a readable number of points."""
    for longest, resolution in (
        (timedelta(hours=7), "1m"),
        (timedelta(days=3), "5m"),
        (timedelta(days=8), "15m"),
        (timedelta(days=62), "1h"),
    ):
        if span <= longest:
            return resolution
    return "1d"
