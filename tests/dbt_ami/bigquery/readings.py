"""A lake that the evaluators execute in seconds: takes the random fleet, gives a few thousand rows.

Of the fleet's 100 minutes only the stretches around sags, outages and restarts are kept (to the
models the rest is lost readings), and a coarse meter adds the afternoons of the days before.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np

from ..fleet import START, Meter, Row, build_fleet, registry_rows

SEED = 1
# Seconds from START: beginning, outage, restart, clock reset and end of the fleet's meters.
STRETCHES_S = [(0, 20), (1485, 1505), (2098, 2112), (2392, 2412), (2992, 3010), (5935, 6000)]
# Where the meter that repeats seq does so.
REPEATS_S = (95, 135)
EARLIER_DAYS = 11
QUARTER_HOUR = timedelta(minutes=15)


def lake_rows() -> tuple[list[Row], list[Row]]:
    """Stored readings, copies included, and the registry."""
    meters, stored = build_fleet([SEED])
    kept = [row for row in stored if is_kept(row)]
    earlier = Meter(f"m{SEED}-days", f"pole{SEED}E", interval_ms=900_000)
    earlier.valid_from = START - timedelta(days=EARLIER_DAYS + 1)
    kept += afternoons(earlier, np.random.default_rng(SEED))
    return kept, registry_rows([*meters, earlier])


def is_kept(row: Row) -> bool:
    """Whether a row of the fleet lies in a stretch, or comes from a meter with few rows."""
    at_s = (row["event_ts"] - START).total_seconds()
    if row["meter_id"].endswith(("-minute", "-quarter")):
        return True
    repeats = [REPEATS_S] if row["meter_id"].endswith("-repeats") else []
    return any(first <= at_s < last for first, last in STRETCHES_S + repeats)


def afternoons(meter: Meter, rng: np.random.Generator) -> Iterator[Row]:
    """Readings from 15:00 to 17:00 UTC of the days up to START."""
    for day in range(EARLIER_DAYS + 1):
        morning = (START - timedelta(days=EARLIER_DAYS - day)).replace(hour=15, minute=0)
        for slot in range(8):
            at = morning + slot * QUARTER_HOUR
            yield {
                "event_ts": at,
                "meter_id": meter.meter_id,
                "pole_id": meter.pole_id,
                "seq": day * 96 + slot,
                "voltage_v": round(float(rng.normal(240, 1)), 1),
                "current_a": 5.0,
                "power_kw": round(float(rng.uniform(1, 3)), 3),
                "reactive_kvar": 0.1,
                "freq_hz": 60.0,
                "quality_flags": [],
                "network_profile": "wired",
                "gateway_id": "g-" + meter.pole_id,
                "gateway_ingest_ts": at,
                "batch_id": f"b{day}",
                "ingest_ts": at + timedelta(seconds=2),
                "event_date": at.date(),
            }
