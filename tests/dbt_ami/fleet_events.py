"""Meters whose voltage walks over every limit: takes seeds, gives stored readings and registry.

Every seed has a pole of its own feeder with swells, sags that linger between the limits of leaving
and entering, outages of every kind and silences on both sides of the shortest that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from .fleet import SPAN, START, Meter, Row, _dropped, _stored, registry_rows

LEVELS_PU = (
    0.0, 0.05, 0.0999, 0.1, 0.5, 0.79, 0.8, 0.899, 0.9, 0.905, 0.9199, 0.92, 0.95, 1.0, 1.05,
    1.08, 1.085, 1.1, 1.105, 1.2, 1.21, 1.4, 1.41,
)  # fmt: skip
DWELL_S = (1, 2, 3, 4, 10, 59, 60, 61, 100)


@dataclass(frozen=True)
class Outage:
    """Power lost at `gasp_s`, back at `back_s` (None: never) in seconds of the run.

    The last gasp carries `gasp_pu`, the return `back_pu` for `back_for_s`. `battery_s` is how long
    the meter goes on measuring next to nothing; a second gasp comes at its end with `gasps_again`.
    With `restarts` the meter begins its seq again when it is back.
    """

    gasp_s: int
    back_s: int | None
    gasp_pu: float = 0.4
    back_pu: float = 1.0
    back_for_s: int = 0
    battery_s: int = 0
    gasps_again: bool = False
    restarts: bool = False


def _dark(meter_id: str, pole_id: str) -> list[tuple[Meter, list[Outage]]]:
    """Meters with outages, by what is special about them."""
    first = Meter(f"{meter_id}-short", pole_id)
    return [
        (
            first,
            [
                Outage(500, 501),
                Outage(600, 603, gasp_pu=1.0),
                Outage(700, 760),
                Outage(900, 961, gasp_pu=0.91),
                Outage(1200, 1210, back_pu=0.91, back_for_s=5),
                Outage(1300, 1310, back_pu=0.1, back_for_s=7),
                Outage(1400, 1440, battery_s=20, back_pu=0.5, back_for_s=30),
                Outage(1500, 1600, battery_s=8, gasps_again=True),
                Outage(1700, 2200, restarts=True, back_pu=0.6, back_for_s=12),
                Outage(2300, 2320, back_pu=1.3, back_for_s=9),
                # Gasps again with the very reading that shows power.
                Outage(2400, 2410),
                Outage(2410, 2420, gasp_pu=0.95),
                Outage(5900, None, battery_s=6),
            ],
        ),
        (replace(first, meter_id=f"{meter_id}-open", rows=[]), [Outage(4000, None, gasp_pu=1.0)]),
        (
            replace(
                first,
                meter_id=f"{meter_id}-removed",
                rows=[],
                valid_to=START + timedelta(seconds=4500),
            ),
            [Outage(4200, None)],
        ),
        (
            Meter(f"{meter_id}-slow", pole_id, interval_ms=60_000),
            [Outage(1200, 2400), Outage(3000, 3060, battery_s=30)],
        ),
    ]


def _walks(meter_id: str, pole_id: str) -> list[Meter]:
    """Meters whose voltage walks over the limits, and meters that fall silent."""
    walk = Meter(f"{meter_id}-walk", pole_id)
    return [
        walk,
        Meter(f"{meter_id}-walk-230", pole_id, nominal_voltage_v=230.0),
        Meter(f"{meter_id}-walk-120", pole_id, nominal_voltage_v=120.0, interval_ms=2000),
        Meter(f"{meter_id}-walk-277", pole_id, nominal_voltage_v=277.0, restart_at_s=3000),
        Meter(f"{meter_id}-walk-500ms", pole_id, interval_ms=500),
        Meter(f"{meter_id}-quiet-120", pole_id, lost_s=(1000, 1120)),
        Meter(f"{meter_id}-quiet-121", pole_id, lost_s=(1000, 1121)),
        Meter(f"{meter_id}-quiet-start", pole_id, lost_s=(0, 300)),
        Meter(f"{meter_id}-quiet-end", pole_id, lost_s=(5000, 6000)),
        Meter(f"{meter_id}-quiet-leaves", pole_id, lost_s=(5000, 6000),
              valid_to=START + timedelta(seconds=5300)),
        Meter(f"{meter_id}-minutes-2", pole_id, interval_ms=60_000, lost_s=(1200, 1320)),
        Meter(f"{meter_id}-minutes-3", pole_id, interval_ms=60_000, lost_s=(1200, 1380)),
        Meter(f"{meter_id}-quarters-1", pole_id, interval_ms=900_000, lost_s=(900, 1800)),
        Meter(f"{meter_id}-quarters-2", pole_id, interval_ms=900_000, lost_s=(900, 2700)),
    ]  # fmt: skip


def _levels_pu(rng: np.random.Generator) -> np.ndarray:
    """Voltage of every second, in pu: dwells on levels, half of the time at 1."""
    seconds = int(SPAN.total_seconds())
    levels = np.ones(seconds)
    at_s = 0
    while at_s < seconds:
        dwell = int(rng.choice(DWELL_S))
        levels[at_s : at_s + dwell] = 1.0 if rng.random() < 0.4 else rng.choice(LEVELS_PU)
        at_s += dwell
    return levels


def _row(meter: Meter, at_s: float, seq: int, level_pu: float, flags: list[str]) -> Row:
    return {
        "event_ts": START + timedelta(seconds=at_s),
        "meter_id": meter.meter_id,
        "pole_id": meter.pole_id,
        "seq": seq,
        "voltage_v": round(meter.nominal_voltage_v * level_pu, 3),
        "current_a": 5.0,
        "power_kw": 1.25,
        "reactive_kvar": 0.5,
        "freq_hz": 60.0,
        "quality_flags": flags,
    }


def _sample(meter: Meter, levels_pu: np.ndarray, outages: list[Outage]) -> None:
    """Fill `meter.rows`; while the meter is off it takes no sample and `seq` stands still."""
    seq = 700
    step_s = meter.interval_ms / 1000
    for number in range(int(SPAN.total_seconds() / step_s)):
        at_s = number * step_s
        level, flags = float(levels_pu[int(at_s)]), []
        if meter.restart_at_s == at_s:
            seq = 0
        for outage in outages:
            into_s = at_s - outage.gasp_s
            back_s = outage.back_s if outage.back_s is not None else float("inf")
            if into_s == 0:
                level, flags = outage.gasp_pu, ["last_gasp"]
            elif 0 < into_s <= outage.battery_s and at_s < back_s:
                level = 0.02
                if outage.gasps_again and into_s == outage.battery_s:
                    flags = ["last_gasp"]
            elif into_s > 0 and at_s < back_s:
                level = -1.0
            elif back_s <= at_s < back_s + outage.back_for_s:
                level = outage.back_pu
            if outage.restarts and at_s == back_s:
                seq = 0
            if at_s == back_s and not flags:
                flags = ["power_restored"]
        if level >= 0:
            meter.rows.append(_row(meter, at_s, seq, level, flags))
            seq += 1


def build_events_fleet(seeds: list[int]) -> tuple[list[Row], list[Row]]:
    """Stored rows, copies included, and registry rows of all seeds.

    The first seed loses nothing but what it is made to lose, so that borders are met exactly.
    """
    stored: list[Row] = []
    meters: list[Meter] = []
    for seed in seeds:
        name, pole_id = f"e{seed}", f"events{seed}A"
        rng = np.random.default_rng([seed, 1159])
        scripts = [(meter, []) for meter in _walks(name, pole_id)] + _dark(name, pole_id)
        for (meter, outages), own in zip(scripts, rng.spawn(len(scripts)), strict=True):
            walks = "walk" in meter.meter_id
            _sample(meter, _levels_pu(own) if walks else np.ones(6000), outages)
            rows = _lossless(meter) if seed == seeds[0] else list(_dropped(meter, own))
            stored += _stored(iter(rows), own)
            meters.append(meter)
    return stored, registry_rows(meters)


def _lossless(meter: Meter) -> list[Row]:
    lost = meter.lost_s or (0, 0)
    return [
        row
        for row in meter.rows
        if not lost[0] <= (row["event_ts"] - START).total_seconds() < lost[1]
    ]
