"""A small random fleet: takes seeds, gives stored readings (copies included) and their registry.

Every seed is four poles of its own with everything that makes readings awkward: drops alone and in
bursts, copies (some with other values), late and estimated readings, replaced and reset meters,
outages, repeated seq, jittering clocks and sample intervals from 1 s to 15 min.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

START = datetime(2026, 3, 1, 22, 40, tzinfo=UTC)
SPAN = timedelta(minutes=100)

# By the letter of the pole; the fleet's first night holds Berlin's midnight and UTC's.
ZONES = {"A": "Europe/Berlin", "B": "America/New_York", "C": None, "D": "Asia/Kathmandu"}

Row = dict[str, Any]
Sag = tuple[float, float, float]


@dataclass
class Meter:
    """One meter of the fleet and what is special about it."""

    meter_id: str
    pole_id: str
    nominal_voltage_v: float = 240.0
    interval_ms: int = 1000
    registered_interval: bool = True
    is_registered: bool = True
    reactive: bool = True
    jitter_ms: int = 0
    offset_ms: int = 0
    restart_at_s: int | None = None
    clock_reset_at_s: int | None = None
    outage_s: tuple[int, int] | None = None
    lost_s: tuple[int, int] | None = None
    repeats_seq: bool = False
    silent: bool = False
    low_s: tuple[int, int] | None = None
    valid_from: datetime = START - timedelta(hours=5)
    valid_to: datetime | None = None
    rows: list[Row] = field(default_factory=list)


def meters_of_seed(seed: int) -> list[Meter]:
    """The four poles of one seed; a single meter on C, a dead one on D."""
    a, b = f"pole{seed}A", f"pole{seed}B"
    half = START + SPAN / 2
    return [
        Meter(f"m{seed}-plain-1", a),
        Meter(f"m{seed}-plain-2", a),
        Meter(f"m{seed}-230", a, nominal_voltage_v=230.0, jitter_ms=40, offset_ms=300),
        Meter(f"m{seed}-120", a, nominal_voltage_v=120.0, interval_ms=2000),
        Meter(f"m{seed}-restart", a, restart_at_s=2400),
        Meter(f"m{seed}-reset", a, clock_reset_at_s=3000),
        Meter(f"m{seed}-outage", a, outage_s=(1500, 2100)),
        Meter(f"m{seed}-repeats", a, repeats_seq=True, registered_interval=False),
        Meter(f"m{seed}-joins", a, valid_from=half),
        Meter(f"m{seed}-cut-off", a, lost_s=(1000, 5100)),
        Meter(f"m{seed}-dead", a, silent=True),
        Meter(f"m{seed}-minute", b, interval_ms=60_000, nominal_voltage_v=230.0, jitter_ms=8000),
        Meter(f"m{seed}-quarter", b, interval_ms=900_000, offset_ms=400_000, reactive=False),
        Meter(f"m{seed}-unknown", b, interval_ms=5000, is_registered=False),
        Meter(f"m{seed}-gone", f"pole{seed}D", silent=True),
        Meter(
            f"m{seed}-stops", f"pole{seed}C", low_s=(5993, 6000), valid_to=START + timedelta(days=9)
        ),
        Meter(f"m{seed}-blinks", a, low_s=(5940, 5950), lost_s=(5950, 5960)),
    ]


def _pole_sags(rng: np.random.Generator) -> list[Sag]:
    """(start in s, duration in s, depth in pu) of sags that all meters of a pole see."""
    count = 12
    starts = np.sort(rng.uniform(0, SPAN.total_seconds(), count))
    durations = rng.choice([2.0, 4.0, 5.0, 6.0, 8.0, 20.0, 70.0, 400.0], count)
    depths = rng.choice([0.05, 0.4, 0.7, 0.85, 0.91], count)
    return [
        (float(s), float(d), float(x)) for s, d, x in zip(starts, durations, depths, strict=True)
    ]


def _in_any(spans: list[Sag], at_s: float) -> float | None:
    return next((depth for start, last, depth in spans if start <= at_s < start + last), None)


def _sample(meter: Meter, rng: np.random.Generator, sags: list[Sag]) -> None:
    """Fill `meter.rows` with what it measures; nothing is lost on the way yet."""
    own = [(s, min(d, 9.0), x) for s, d, x in _pole_sags(rng)]
    seq = int(rng.integers(0, 5000)) + 5000
    step_s = meter.interval_ms / 1000
    for number in range(int(SPAN.total_seconds() / step_s)):
        at_s = number * step_s + meter.offset_ms / 1000
        if meter.silent or at_s >= SPAN.total_seconds():
            continue
        flags: list[str] = []
        if meter.outage_s and meter.outage_s[0] <= at_s < meter.outage_s[1]:
            continue
        if meter.outage_s and abs(at_s + step_s - meter.outage_s[0]) < step_s / 2:
            flags.append("last_gasp")
        if meter.restart_at_s and abs(at_s - meter.restart_at_s) < step_s / 2:
            seq = 0
        if meter.clock_reset_at_s and abs(at_s - meter.clock_reset_at_s) < step_s / 2:
            flags.append("clock_reset")
            seq -= 50
        depth = _in_any(sags, at_s) or _in_any(own, at_s)
        if meter.low_s and meter.low_s[0] <= at_s < meter.low_s[1]:
            depth = 0.7
        # Low right before and right after an outage, through which seq does not count on.
        beside_outage = meter.outage_s and (
            0 <= meter.outage_s[0] - at_s <= 8 or 0 <= at_s - meter.outage_s[1] <= 8
        )
        level = 0.5 if beside_outage else (depth or 1.0)
        if rng.random() < 0.01:
            flags.append(str(rng.choice(["estimated", "missing_sample", "tamper"])))
        jitter = int(rng.integers(-meter.jitter_ms, meter.jitter_ms + 1)) if meter.jitter_ms else 0
        meter.rows.append(
            {
                "event_ts": START + timedelta(seconds=at_s, milliseconds=jitter),
                "meter_id": meter.meter_id,
                "pole_id": meter.pole_id,
                "seq": seq,
                # A tenth of a volt makes samples that lie exactly on the threshold likely.
                "voltage_v": round(meter.nominal_voltage_v * level + float(rng.normal(0, 0.7)), 1),
                "current_a": 5.0,
                "power_kw": round(float(rng.uniform(-0.5, 3)), 3),
                "reactive_kvar": round(float(rng.uniform(0, 1)), 3) if meter.reactive else None,
                "freq_hz": 60.0,
                "quality_flags": flags,
            }
        )
        seq += 1
    if meter.repeats_seq:
        for row in list(meter.rows)[100:130:10]:
            meter.rows.append(
                {**row, "event_ts": row["event_ts"] + timedelta(milliseconds=250), "power_kw": 9.0}
            )


def _dropped(meter: Meter, rng: np.random.Generator) -> Iterator[Row]:
    """Drop 3 %: half of it alone, the rest in bursts of up to 90 samples; and all of `lost_s`."""
    burst = 0
    for row in meter.rows:
        at_s = (row["event_ts"] - START).total_seconds()
        if meter.lost_s and meter.lost_s[0] <= at_s < meter.lost_s[1]:
            continue
        if burst == 0 and rng.random() < 0.0004:
            burst = int(rng.integers(2, 91))
        if burst:
            burst -= 1
        elif rng.random() >= 0.015 or "last_gasp" in row["quality_flags"]:
            yield row


def _stored(rows: Iterator[Row], rng: np.random.Generator) -> Iterator[Row]:
    """Stamp the arrival; 5 % come twice, some of these with other values, some late."""
    for row in rows:
        delay = float(rng.exponential(2)) if rng.random() < 0.98 else float(rng.uniform(60, 4000))
        stamped = {
            **row,
            "network_profile": "wired",
            "gateway_id": "g-" + row["pole_id"],
            "gateway_ingest_ts": row["event_ts"],
            "batch_id": f"b{row['seq']}",
            "ingest_ts": row["event_ts"] + timedelta(microseconds=int(delay * 1e6)),
            "event_date": row["event_ts"].date(),
        }
        yield stamped
        if rng.random() < 0.05:
            copy = {**stamped, "batch_id": "again"}
            if rng.random() < 0.5:
                copy["ingest_ts"] = stamped["ingest_ts"] + timedelta(seconds=int(rng.integers(9)))
            if rng.random() < 0.3:
                copy["voltage_v"] = max(0.0, stamped["voltage_v"] - 60)
            yield copy


def build_fleet(seeds: list[int]) -> tuple[list[Meter], list[Row]]:
    """Meters of all seeds and every stored row, copies included."""
    meters: list[Meter] = []
    stored: list[Row] = []
    for seed in seeds:
        of_seed = meters_of_seed(seed)
        rng = np.random.default_rng(seed)
        sags = _pole_sags(rng)
        for meter, own in zip(of_seed, rng.spawn(len(of_seed)), strict=True):
            _sample(meter, own, sags)
            stored += _stored(_dropped(meter, own), own)
        meters += of_seed
    return meters, stored


def registry_rows(meters: list[Meter]) -> list[Row]:
    """Registry of the fleet; the poles of a seed hang on one feeder."""
    return [
        {
            "meter_id": m.meter_id,
            "pole_id": m.pole_id,
            "transformer_id": "t-" + m.pole_id,
            "feeder_id": "f-" + m.pole_id[:-1],
            "nominal_voltage_v": m.nominal_voltage_v,
            "sample_interval_ms": m.interval_ms if m.registered_interval else None,
            "rated_kva": 12.0,
            "latitude": None,
            "longitude": None,
            "time_zone": ZONES.get(m.pole_id[-1]),
            "valid_from": m.valid_from,
            "valid_to": m.valid_to,
        }
        for m in meters
        if m.is_registered
    ]
