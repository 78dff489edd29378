"""`ami figures`: reads the published marts, prints what metrics are made of: a line of JSON each.

On Google Cloud a job runs it every five minutes; log-based metrics read the lines (infra/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import orjson

from ami_api.serve import serving_warehouse
from ami_contract.settings import Settings
from ami_store.serving import ServingWarehouse, Snapshot
from ami_store.statements import ANOMALIES, NEWEST, POLES

HOUR: Final = timedelta(hours=1)
# A pole's newest hour that is older says nothing about now.
_HEALTH_WITHIN: Final = timedelta(days=1)
_PAGE: Final = 1000


def run_figures(settings: Settings) -> None:
    """Print the figures of the profile's warehouse.

    Raises:
        SettingsError: there are no credentials.
        WarehouseError: nothing is built yet, or the warehouse does not answer.
    """
    warehouse = serving_warehouse(settings)
    try:
        for line in figures(warehouse, datetime.now(UTC), settings.api_query_timeout_s):
            click.echo(orjson.dumps(line))
    finally:
        warehouse.close()


def figures(
    warehouse: ServingWarehouse, now: datetime, timeout_s: float
) -> Iterator[dict[str, Any]]:
    """A mapping per pole, then one for the fleet.

    Poles have `mean_voltage_v` and `health_score` of their newest hour, without those that are
    unknown. The fleet has `active_meters` (those that reported in the newest hour of their pole),
    `sag_events_last_hour` (low-voltage events that started in the hour up to the newest reading, a
    thousand at most) and `newest_reading_age_s`.

    Raises:
        WarehouseError: nothing is built yet, or the warehouse does not answer.
    """
    warehouse.refresh()
    with warehouse.lease() as snapshot:
        newest = snapshot.query(NEWEST, {}, timeout_s)[0]["newest_event_ts"] or now
        poles = list(_poles(snapshot, newest - _HEALTH_WITHIN, timeout_s))
        yield from map(_of_pole, poles)
        nothing = dict.fromkeys(
            ("pole_id", "meter_id", "severity", "scope", "min_duration_s", "after_ts", "after_id")
        )
        window = {"start": newest - HOUR, "end": newest + timedelta(microseconds=1)}
        events = snapshot.query(ANOMALIES, {**nothing, **window, "row_limit": _PAGE}, timeout_s)
        yield of_fleet(poles, len(events), (now - newest).total_seconds())


def _poles(snapshot: Snapshot, since: datetime, timeout_s: float) -> Iterator[Mapping[str, Any]]:
    after = None
    while True:
        values = {
            "feeder_id": None,
            "after_id": after,
            "health_since": since,
            "row_limit": _PAGE,
        }
        page = snapshot.query(POLES, values, timeout_s)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["pole_id"]


def _of_pole(pole: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        name: pole[name] for name in ("mean_voltage_v", "health_score") if pole[name] is not None
    }
    return {
        "figure": "pole",
        "pole_id": pole["pole_id"],
        "feeder_id": pole["feeder_id"],
        **known,
    }


def of_fleet(
    poles: Iterable[Mapping[str, Any]], sag_events: int, newest_reading_age_s: float
) -> dict[str, Any]:
    """The line of the fleet; a clock behind the readings makes their age 0 s."""
    counted = list(poles)
    return {
        "figure": "fleet",
        "poles": len(counted),
        "active_meters": sum(pole["meters_reporting"] or 0 for pole in counted),
        "sag_events_last_hour": sag_events,
        "newest_reading_age_s": max(0.0, round(newest_reading_age_s, 1)),
    }
