"""A lake that the evaluators execute in seconds: takes the random fleet, gives a few thousand rows.

Of the fleet's 100 minutes only the stretches around sags, outages and restarts are kept (to the
models the rest is lost readings). A coarse meter adds the afternoons of the days before, to which
`DR_VARS` fit demand response: two events, days to compare with, rebound and adjustment.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from ..fleet import START, Meter, Row, build_fleet, registry_rows

SEED = 1
# Seconds from START: beginning, outage, restart, clock reset and end of the fleet's meters.
STRETCHES_S = [(0, 20), (1485, 1505), (2098, 2112), (2392, 2412), (2992, 3010), (5935, 6000)]
# Where the meter that repeats seq does so.
REPEATS_S = (95, 135)
EARLIER_DAYS = 11
QUARTER_HOUR = timedelta(minutes=15)
# From 13:15 to 17:00 UTC.
AFTERNOON = [timedelta(hours=13, minutes=15) + slot * QUARTER_HOUR for slot in range(15)]
# (day, slot) that never arrived, and (day, slot) whose seq an hour's first reading repeats.
LOST = {(8, slot) for slot in range(3, 7)}
REPEATED = (3, 2)
REPEATED_AFTER = timedelta(minutes=20)
REPEATED_BATCH = "repeated"

# Demand response in which an afternoon is a day.
DR_VARS: dict[str, float] = {
    "dr_day_min_coverage": 0.1,
    "dr_adjust_from_s": 9000,
    "dr_rebound_s": 1800,
}
# Rows of the seed dr_events: one with days to compare with, one with none and on two poles.
DR_EVENTS = f"""\
event_id,start_ts,end_ts,pole_ids,program,notes
friday,2026-02-27T16:00:00+00:00,2026-02-27T16:30:00+00:00,pole{SEED}E,summer,
night,2026-03-01T23:00:00+00:00,2026-03-01T23:30:00+00:00,pole{SEED}A; pole{SEED}E,,
"""


def lake_rows() -> tuple[list[Row], list[Row]]:
    """Stored readings, copies included, and the registry."""
    meters, stored = build_fleet([SEED])
    kept = [row for row in stored if is_kept(row)]
    earlier = Meter(f"m{SEED}-days", f"pole{SEED}E", interval_ms=900_000)
    earlier.valid_from = START - timedelta(days=EARLIER_DAYS + 1)
    kept += afternoons(earlier, np.random.default_rng(SEED))
    moved = Meter(f"m{SEED}-moved", f"pole{SEED}C")
    kept += sag_of_ten_seconds(moved)
    return kept, [*registry_rows([*meters, earlier]), *moved_to_a_feeder(moved)]


def is_kept(row: Row) -> bool:
    """Whether a row of the fleet lies in a stretch, or comes from a meter with few rows."""
    at_s = (row["event_ts"] - START).total_seconds()
    if row["meter_id"].endswith(("-minute", "-quarter")):
        return True
    repeats = [REPEATS_S] if row["meter_id"].endswith("-repeats") else []
    return any(first <= at_s < last for first, last in STRETCHES_S + repeats)


def afternoons(meter: Meter, rng: np.random.Generator) -> Iterator[Row]:
    """Readings of the afternoons of the days up to START."""
    for day in range(EARLIER_DAYS + 1):
        midnight = (START - timedelta(days=EARLIER_DAYS - day)).replace(hour=0, minute=0)
        for slot, clock in enumerate(AFTERNOON):
            seq, level = day * 96 + slot, float(rng.normal(240, 1))
            if (day, slot) not in LOST:
                yield reading(meter, midnight + clock, seq, level, float(rng.uniform(1, 3)))
            if (day, slot) == REPEATED:
                repeat = reading(meter, midnight + clock + REPEATED_AFTER, seq, level, 2.0)
                yield {**repeat, "batch_id": REPEATED_BATCH}


def repeats_over_hours(row: Row) -> bool:
    """Whether the reading repeats a seq of the hour before."""
    return bool(row["batch_id"] == REPEATED_BATCH)


def sag_of_ten_seconds(meter: Meter) -> Iterator[Row]:
    """Twenty seconds from START on, low from the fifth to the fourteenth."""
    for second in range(20):
        low = 5 <= second < 15
        yield reading(meter, START + timedelta(seconds=second), second, 180 if low else 240, 1.0)


def moved_to_a_feeder(meter: Meter) -> list[Row]:
    """Registry of a meter without a feeder that gets one in the middle of its sag."""
    (before,) = registry_rows([meter])
    moved_at = START + timedelta(seconds=10)
    return [
        {**before, "feeder_id": None, "valid_to": moved_at},
        {**before, "feeder_id": "f-late", "valid_from": moved_at},
    ]


def reading(meter: Meter, at: datetime, seq: int, voltage_v: float, power_kw: float) -> Row:
    """A stored reading that arrived after two seconds."""
    return {
        "event_ts": at,
        "meter_id": meter.meter_id,
        "pole_id": meter.pole_id,
        "seq": seq,
        "voltage_v": round(voltage_v, 1),
        "current_a": 5.0,
        "power_kw": round(power_kw, 3),
        "reactive_kvar": 0.1,
        "freq_hz": 60.0,
        "quality_flags": [],
        "network_profile": "wired",
        "gateway_id": "g-" + meter.pole_id,
        "gateway_ingest_ts": at,
        "batch_id": f"b{seq}",
        "ingest_ts": at + timedelta(seconds=2),
        "event_date": at.date(),
    }
