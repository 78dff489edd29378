"""Freshness: reads when everybody was heard last, gives which hop is stale."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from ami_api.models import Hop, StaleHop

STREAMING_OBJECTIVE: Final = timedelta(minutes=2)
ANALYTICS_OBJECTIVE: Final = timedelta(minutes=15)


def stale_hops(
    meters: Mapping[str, tuple[str, datetime | None]],
    landed_newest: datetime | None,
    marts_newest: datetime,
    now: datetime,
) -> list[StaleHop]:
    """What is stale, causes only.

    Args:
        meters: pole and newest reading of every meter in service, by meter.
        landed_newest: newest reading that is stored; None where that is not known.
        marts_newest: newest reading of the marts.
        now: clock.

    Returns:
        Nothing of poles while nothing arrives, nothing of a pole's meters while the pole is
        silent.
    """
    poles = newest_by_pole(meters)
    newest = landed_newest or marts_newest
    found: list[StaleHop] = []
    if now - newest > STREAMING_OBJECTIVE:
        # Without a look at the storage, a late build and a silent field look the same until the
        # marts are older than a build may be.
        if landed_newest is not None or now - newest > ANALYTICS_OBJECTIVE:
            found.append(StaleHop(hop=Hop.PIPELINE, subject=None, since_ts=newest))
    else:
        found += _silent(meters, poles, now)
    if landed_newest is not None and landed_newest - marts_newest > ANALYTICS_OBJECTIVE:
        found.append(StaleHop(hop=Hop.ORCHESTRATION, subject=None, since_ts=marts_newest))
    return found


def newest_by_pole(
    meters: Mapping[str, tuple[str, datetime | None]],
) -> dict[str, datetime | None]:
    """Newest reading of each pole, from the pole and newest reading of each meter."""
    poles: dict[str, datetime | None] = {}
    for pole_id, heard in meters.values():
        known = poles.get(pole_id)
        poles[pole_id] = max((at for at in (known, heard) if at), default=None)
    return poles


def _silent(
    meters: Mapping[str, tuple[str, datetime | None]],
    poles: Mapping[str, datetime | None],
    now: datetime,
) -> list[StaleHop]:
    silent = {pole_id for pole_id, heard in poles.items() if _is_stale(heard, now)}
    found = [
        StaleHop(hop=Hop.POLE, subject=pole_id, since_ts=poles[pole_id])
        for pole_id in sorted(silent)
    ]
    found += [
        StaleHop(hop=Hop.METER, subject=meter_id, since_ts=heard)
        for meter_id, (pole_id, heard) in sorted(meters.items())
        if pole_id not in silent and _is_stale(heard, now)
    ]
    return found


def _is_stale(heard: datetime | None, now: datetime) -> bool:
    return heard is None or now - heard > STREAMING_OBJECTIVE
