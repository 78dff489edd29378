"""Short stories of one meter each: takes a seed, gives stored readings and their registry.

Voltages, gaps, clock slips and jumps lie on the limits of the definitions and right beside them,
and the stories on both sides of an hour's end, so that few readings tell much.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

Row = dict[str, Any]
DAY = datetime(2026, 3, 2, tzinfo=UTC)
WATERMARK = DAY + timedelta(hours=5)
_S = 1_000_000
_HOUR_US = 3600 * _S
_STEPS_MS = [1000, 1000, 1000, 2000, 5000, 5001, 30_000, 30_500, 60_000, 200_000]
_NOMINAL_V = [240.0, 240.0, 230.0, 120.0]


def _pick(rng: np.random.Generator, values: list[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _story(rng: np.random.Generator, number: int) -> list[Row]:
    """Readings of one meter.

    The clock and `seq` of every third go on all the time, those of another third but for one hour's
    end.
    """
    is_calm, is_calm_within = number % 3 == 0, number % 3 == 1
    flag_names = ["tamper", "last_gasp", "estimated", "missing_sample"]
    if number % 3 != 2 and number % 5:
        flag_names = flag_names[:2]
    interval_us = _pick(rng, _STEPS_MS) * 1000
    nominal_v = _pick(rng, _NOMINAL_V)
    limit_v = 220.0 * nominal_v / 240.0
    low_v = [
        limit_v - 0.1,
        *(x * nominal_v - y for x in (0.9, 0.8, 0.5, 0.1) for y in (0, 0.1)),
        0.0,
    ]
    high_v = [limit_v, limit_v, limit_v + 0.1, nominal_v]
    count = 75 if interval_us <= 5 * _S else 36
    # Zero is the end of an hour.
    at_us = -int(rng.integers(1, count)) * interval_us
    before_us = at_us
    seq, left, is_low = int(rng.integers(100, 900)), 0, False
    moves_at = int(rng.integers(2, 2 * count))
    usual_v = _pick(rng, low_v)
    rows: list[Row] = []
    used: set[int] = set()
    while len(rows) < count:
        flags: list[str] = []
        # What befalls a meter likes to do so where its voltage changes.
        chance = float(rng.random()) * (0.4 if not left and number % 3 == 2 else 1)
        if is_calm_within and at_us // _HOUR_US != before_us // _HOUR_US:
            chance = 0.08 + chance / 10
        elif (is_calm or is_calm_within) and chance >= 0.08:
            chance = 1.0
        before_us = at_us
        if chance < 0.08:
            missed = _pick(rng, [1, 2, 4, 5, 5, 6])
            seq, at_us = seq + missed, at_us + missed * interval_us
            if number % 3 == 2:
                at_us += _pick(
                    rng, [0, 0, max(_S, interval_us // 2), max(_S, interval_us // 2) + 1]
                )
        elif chance < 0.13:
            slip_us = max(_S, interval_us // 2)
            at_us += _pick(rng, [slip_us, slip_us + 1, -slip_us, -slip_us - 1, 30 * _S])
        elif chance < 0.15:
            # The clock jumps against seq by the limit of an epoch, or a little more.
            back = _pick(rng, [1, 2, 30, seq])
            jump_us = max(300 * _S, 2 * interval_us) + _pick(rng, [0, 1, 100 * _S, -200 * _S])
            seq, at_us = seq - back, at_us + max(jump_us - back * interval_us, -interval_us // 2)
        elif chance < 0.16:
            flags.append("clock_reset")
            seq = max(0, seq - 20)
        if len(rows) in (count // 3, count // 2) and number % 2:
            # An hour without a reading, of which seq knows or not.
            at_us += _HOUR_US // interval_us * interval_us
            seq += _pick(rng, [0, _HOUR_US // interval_us])
        if not left:
            is_low = not is_low
            left = _pick(rng, [1, 2, 4, 5, 6, 12, 13] if is_low else [1, 1, 2, 5, 9])
            usual_v = _pick(rng, low_v)
        voltage_v = _pick(rng, [usual_v, limit_v - 0.1, 0.0]) if is_low else _pick(rng, high_v)
        if rng.random() < 0.06:
            flags.append(_pick(rng, flag_names))
        if is_low and rng.random() < 0.12:
            flags.append("last_gasp")
        if at_us not in used:
            used.add(at_us)
            pole_id = f"p{number:03}{'-moved' if len(rows) >= moves_at else ''}"
            rows.append(
                {
                    "us": at_us,
                    "seq": seq,
                    "voltage_v": voltage_v,
                    "flags": flags,
                    "pole_id": pole_id,
                }
            )
            if number % 3 == 1 and rng.random() < 0.02:
                # The same sample again, less than half a step later.
                rows.append({**rows[-1], "us": at_us + interval_us // 4, "voltage_v": 0.0})
        seq, at_us, left = seq + 1, at_us + interval_us, left - 1
    start = DAY + timedelta(hours=_pick(rng, [1, 2]))
    if number % 4 == 0:
        # Whether the last event is open depends on how long before the watermark it was seen.
        silent_us = _pick(rng, [0, interval_us + 120 * _S, interval_us + 120 * _S + 1])
        last_us = max(row["us"] for row in rows)
        start = WATERMARK - timedelta(microseconds=last_us + silent_us)
    return [
        {
            "event_ts": start + timedelta(microseconds=row["us"]),
            "meter_id": f"m{number:03}",
            "pole_id": row["pole_id"],
            "seq": row["seq"],
            "voltage_v": row["voltage_v"],
            "current_a": 5.0,
            "power_kw": 1.0,
            "reactive_kvar": None,
            "freq_hz": None,
            "quality_flags": row["flags"],
            "nominal_v": nominal_v,
            "interval_ms": interval_us // 1000,
        }
        for row in rows
    ]


def _stored(row: Row) -> Row:
    known = {name: value for name, value in row.items() if name not in ("nominal_v", "interval_ms")}
    return {
        **known,
        "network_profile": "wired",
        "gateway_id": "g",
        "gateway_ingest_ts": row["event_ts"],
        "batch_id": f"b{row['seq']}",
        "ingest_ts": row["event_ts"] + timedelta(seconds=2),
        "event_date": row["event_ts"].date(),
    }


def stories(seed: int, count: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Readings that are stored first, those that come late, and the registry.

    Of every second meter a sixth of the readings comes late. One more meter has a reading at the
    watermark.
    """
    rng = np.random.default_rng(seed)
    early: list[Row] = []
    late: list[Row] = []
    registry: list[Row] = []
    for number in range(count):
        rows = [row for row in _story(rng, number) if row["event_ts"] <= WATERMARK]
        for row in rows:
            (late if number % 2 and rng.random() < 1 / 6 else early).append(_stored(row))
        registry.append(_registered(rows[0]))
    newest = {**_story(rng, count)[0], "event_ts": WATERMARK, "voltage_v": 500.0}
    return [*early, _stored(newest)], late, [*registry, _registered(newest)]


def _registered(row: Row) -> Row:
    return {
        "meter_id": row["meter_id"],
        "pole_id": row["pole_id"],
        "transformer_id": "t-" + row["pole_id"],
        "feeder_id": "f-" + row["pole_id"],
        "nominal_voltage_v": row["nominal_v"],
        "sample_interval_ms": row["interval_ms"],
        "rated_kva": None,
        "latitude": None,
        "longitude": None,
        "time_zone": None,
        "valid_from": DAY - timedelta(days=1),
        "valid_to": None,
    }
