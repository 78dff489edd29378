"""Reads the simulator's fleet of 1 000 meters; gives the rate at which one core makes payloads."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.definition import Benchmark, Context, Measurements, Metric, at_least, measured
from simulator.config import load_config
from simulator.encode import encode
from simulator.fleet import build_fleet
from simulator.meters import SEGMENT_SAMPLES, PoleMeters

FLEET: Final = Path(__file__).resolve().parents[2] / "simulator" / "configs" / "fleet_1000.yaml"
ARROW_ID: Final = "generate.arrow.readings_per_s"
JSON_ID: Final = "generate.json.readings_per_s"
_FIRST_TICK: Final = 5_000_000
_BLOCKS: Final = 3


def make_payloads(poles: list[PoleMeters], payload: str, first_tick: int, blocks: int) -> int:
    """Simulate blocks of `SEGMENT_SAMPLES` samples of every pole and encode each as one payload.

    Returns:
        Readings made.
    """
    readings = 0
    for block in range(blocks):
        tick = first_tick + block * SEGMENT_SAMPLES
        for meters in poles:
            samples = meters.samples(tick, tick + SEGMENT_SAMPLES)
            if samples is not None:
                encode(samples, meters.pole, payload)
                readings += len(samples)
    return readings


def measure(payload: str, name: str, context: Context) -> Measurements:
    """Readings per second of CPU time; every run simulates the time after the one before."""
    poles_wanted, blocks = (5, 1) if context.quick else (None, _BLOCKS)
    config = load_config(FLEET, {"payload": payload})
    poles = [PoleMeters(config, pole) for pole in build_fleet(config).poles[:poles_wanted]]
    first_tick = _FIRST_TICK
    make_payloads(poles, payload, first_tick, 1)
    first_tick += SEGMENT_SAMPLES
    while True:
        readings, cost = measured(partial(make_payloads, poles, payload, first_tick, blocks))
        first_tick += blocks * SEGMENT_SAMPLES
        yield {name: readings / cost.cpu_s}


_WHAT: Final = (
    "simulated readings of 1 000 meters on 100 poles (`simulator/configs/fleet_1000.yaml`), one "
    "payload for each pole's block of 3 000 readings, per second of CPU time of one process; "
    "publishing excluded, {form}."
)

ARROW: Final = Benchmark(
    (
        Metric(
            ARROW_ID,
            "readings/s",
            at_least(1_000_000),
            _WHAT.format(form="Arrow IPC with zstd"),
        ),
    ),
    measure=partial(measure, "arrow", ARROW_ID),
)

JSON: Final = Benchmark(
    (Metric(JSON_ID, "readings/s", at_least(250_000), _WHAT.format(form="JSON arrays")),),
    measure=partial(measure, "json", JSON_ID),
)
