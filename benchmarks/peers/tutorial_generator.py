"""Meter readings as streaming tutorials generate them: a Python loop over every single reading.

Gives the fields of our reading, with a daily curve, noise, a power factor and sags that last for
some readings, and so the least that a meter simulator does; none of the backhaul's faults, no
ground truth, no appliances. `random`, `math`, `datetime` and `json` of the standard library, one
dict per reading and `json.dumps` of each, as in the sample publishers of Pub/Sub and Kafka guides.
"""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa


class TutorialMeter:
    """One simulated meter.

    Args:
        meter_id: its name.
        pole_id: where it hangs.
        rng: its randomness.
    """

    def __init__(self, meter_id: str, pole_id: str, rng: random.Random) -> None:
        self.meter_id = meter_id
        self.pole_id = pole_id
        self.rng = rng
        self.seq = 0
        self.factor = rng.uniform(0.5, 1.5)
        self.sag_left = 0
        self.sag_depth = 0.0

    def read(self, now: datetime) -> dict[str, Any]:
        """The reading at `now`."""
        rng = self.rng
        hour = now.hour + now.minute / 60
        load_kw = self.factor * (1.0 + 0.5 * math.sin((hour - 13) / 24 * 2 * math.pi))
        power_kw = max(0.03, load_kw * (1 + rng.gauss(0, 0.1)))
        if self.sag_left:
            self.sag_left -= 1
        elif rng.random() < 1e-4:
            self.sag_left, self.sag_depth = rng.randint(2, 45), rng.uniform(0.1, 0.45)
        voltage_v = 240 * (1 + rng.gauss(0, 0.004))
        if self.sag_left:
            voltage_v *= 1 - self.sag_depth
        factor = rng.uniform(0.95, 0.99)
        reactive_kvar = power_kw * math.sqrt(1 / factor**2 - 1)
        self.seq += 1
        return {
            "event_ts": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "meter_id": self.meter_id,
            "pole_id": self.pole_id,
            "seq": self.seq,
            "voltage_v": round(voltage_v, 2),
            "current_a": round(1000 * math.hypot(power_kw, reactive_kvar) / voltage_v, 3),
            "power_kw": round(power_kw, 4),
            "reactive_kvar": round(reactive_kvar, 4),
            "freq_hz": round(60 + rng.gauss(0, 0.01), 3),
        }


def make_meters(meters: int) -> list[TutorialMeter]:
    """Meters on poles of ten."""
    return [
        TutorialMeter(f"meter-{n // 10:04d}-{n % 10:03d}", f"pole-{n // 10:04d}", random.Random(n))
        for n in range(meters)
    ]


def readings(
    meters: list[TutorialMeter], start: datetime, seconds: int
) -> Iterator[dict[str, Any]]:
    """One reading of every meter for every second."""
    for second in range(seconds):
        now = start + timedelta(seconds=second)
        for meter in meters:
            yield meter.read(now)


def json_payloads(meters: list[TutorialMeter], start: datetime, seconds: int) -> int:
    """Make a JSON message of every reading; returns how many."""
    made = 0
    for reading in readings(meters, start, seconds):
        json.dumps(reading).encode("utf-8")
        made += 1
    return made


def arrow_payloads(meters: list[TutorialMeter], start: datetime, seconds: int) -> int:
    """Make an Arrow message (zstd) of every 3 000 readings; returns the number of readings."""
    made = 0
    pending: list[dict[str, Any]] = []
    for reading in readings(meters, start, seconds):
        pending.append(reading)
        if len(pending) == 3000:
            made += _write(pending)
            pending = []
    return made + (_write(pending) if pending else 0)


def _write(rows: list[dict[str, Any]]) -> int:
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return len(rows)
