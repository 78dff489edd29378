"""Freshness: reads when everybody was heard last, gives which hop is stale."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ami_api.models import Hop, StaleHop

STREAMING_OBJECTIVE: Final = timedelta(minutes=2)
ANALYTICS_OBJECTIVE: Final = timedelta(minutes=15)
# As alerts have it: an interval that is missing now and then is no silence.
_INTERVALS_OF_SILENCE: Final = 3


class Heard(NamedTuple):
    """When a meter was heard last.

    Attributes:
        pole_id: its pole.
        newest: its newest reading; None: never heard.
        limit: a meter is stale when its newest reading is older.
    """

    pole_id: str
    newest: datetime | None
    limit: timedelta = STREAMING_OBJECTIVE


def limit_of(sample_interval_ms: int | None) -> timedelta:
    """Age from which a meter of this interval (ms) is stale: 2 minutes, or three intervals."""
    interval = timedelta(milliseconds=sample_interval_ms or 0)
    return max(STREAMING_OBJECTIVE, _INTERVALS_OF_SILENCE * interval)


def stale_hops(
    meters: Mapping[str, Heard],
    landed_newest: datetime | None,
    marts_newest: datetime,
    now: datetime,
) -> list[StaleHop]:
    """What is stale, causes only.

    Args:
        meters: every meter in service.
        landed_newest: newest reading that is stored; None where that is not known.
        marts_newest: newest reading of the marts.
        now: clock.

    Returns:
        Nothing of poles while nothing arrives, nothing of a pole's meters while the pole is
        silent.
    """
    newest = landed_newest or marts_newest
    found: list[StaleHop] = []
    if now - newest > STREAMING_OBJECTIVE and not heard_poles(meters, now):
        # Without a look at the storage, a late build and a silent field look the same until the
        # marts are older than a build may be.
        if landed_newest is not None or now - newest > ANALYTICS_OBJECTIVE:
            found.append(StaleHop(hop=Hop.PIPELINE, subject=None, since_ts=newest))
    else:
        found += _silent(meters, now)
    if landed_newest is not None and landed_newest - marts_newest > ANALYTICS_OBJECTIVE:
        found.append(StaleHop(hop=Hop.ORCHESTRATION, subject=None, since_ts=marts_newest))
    return found


def newest_by_pole(meters: Mapping[str, Heard]) -> dict[str, datetime | None]:
    """Newest reading of each pole."""
    poles: dict[str, datetime | None] = {}
    for meter in meters.values():
        known = poles.get(meter.pole_id)
        poles[meter.pole_id] = max((at for at in (known, meter.newest) if at), default=None)
    return poles


def heard_poles(meters: Mapping[str, Heard], now: datetime) -> set[str]:
    """Poles of which a meter is not stale."""
    return {meter.pole_id for meter in meters.values() if not _is_stale(meter, now)}


def _silent(meters: Mapping[str, Heard], now: datetime) -> list[StaleHop]:
    poles, heard = newest_by_pole(meters), heard_poles(meters, now)
    found = [
        StaleHop(hop=Hop.POLE, subject=pole_id, since_ts=poles[pole_id])
        for pole_id in sorted(poles.keys() - heard)
    ]
    found += [
        StaleHop(hop=Hop.METER, subject=meter_id, since_ts=meter.newest)
        for meter_id, meter in sorted(meters.items())
        if meter.pole_id in heard and _is_stale(meter, now)
    ]
    return found


def _is_stale(meter: Heard, now: datetime) -> bool:
    return meter.newest is None or now - meter.newest > meter.limit
