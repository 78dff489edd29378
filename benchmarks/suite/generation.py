"""Reads the simulator's fleet of 1 000 meters; gives the rate at which one core makes payloads.

Beside it, in the same process and in turn, runs the loop over single readings that tutorials use.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from benchmarks.backlog import FLEET
from benchmarks.definition import Benchmark, Context, Measurements, Metric, at_least, measured
from benchmarks.peers.tutorial_generator import arrow_payloads, json_payloads, make_meters
from simulator.config import load_config
from simulator.encode import encode
from simulator.fleet import build_fleet
from simulator.meters import SEGMENT_SAMPLES, PoleMeters

ARROW_ID: Final = "generate.arrow.readings_per_s"
JSON_ID: Final = "generate.json.readings_per_s"
ARROW_RATIO_ID: Final = "generate.arrow.ratio_tutorial"
JSON_RATIO_ID: Final = "generate.json.ratio_tutorial"
_FIRST_TICK: Final = 5_000_000
_BLOCKS: Final = 3
_TUTORIAL_METERS: Final = 1000
_TUTORIAL_SECONDS: Final = 60
_TUTORIAL_START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_TUTORIAL: Final[dict[str, Callable[..., int]]] = {"arrow": arrow_payloads, "json": json_payloads}


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


def measure(payload: str, name: str, ratio: str, context: Context) -> Measurements:
    """Readings per second of CPU time, and over those of a tutorial's loop.

    Every run simulates the time after the one before.
    """
    poles_wanted, blocks = (5, 1) if context.quick else (None, _BLOCKS)
    seconds = 2 if context.quick else _TUTORIAL_SECONDS
    meters = make_meters(_TUTORIAL_METERS)
    tutorial = partial(_TUTORIAL[payload], meters, _TUTORIAL_START)
    tutorial(1)
    config = load_config(FLEET, {"payload": payload})
    poles = [PoleMeters(config, pole) for pole in build_fleet(config).poles[:poles_wanted]]
    first_tick = _FIRST_TICK
    make_payloads(poles, payload, first_tick, 1)
    first_tick += SEGMENT_SAMPLES
    while True:
        readings, cost = measured(partial(make_payloads, poles, payload, first_tick, blocks))
        first_tick += blocks * SEGMENT_SAMPLES
        theirs, their_cost = measured(partial(tutorial, seconds))
        rate = readings / cost.cpu_s
        yield {name: rate, ratio: rate / (theirs / their_cost.cpu_s)}


_WHAT: Final = (
    "simulated readings of 1 000 meters on 100 poles (`simulator/configs/fleet_1000.yaml`), one "
    "payload for each pole's block of 3 000 readings, per second of CPU time of one process; "
    "publishing excluded, {form}."
)

_RATIO: Final = (
    "that rate over the rate of a Python loop over single readings, as tutorials write it "
    "(`benchmarks/peers/tutorial_generator.py`), which draws one load curve, noise and sags "
    "and has no backhaul, no appliances and no ground truth; {form}."
)

ARROW: Final = Benchmark(
    (
        Metric(
            ARROW_ID,
            "readings/s",
            at_least(1_000_000),
            _WHAT.format(form="Arrow IPC with zstd"),
        ),
        Metric(
            ARROW_RATIO_ID,
            "ratio",
            at_least(5),
            _RATIO.format(form="`Table.from_pylist` of 3 000 readings, Arrow IPC with zstd"),
        ),
    ),
    measure=partial(measure, "arrow", ARROW_ID, ARROW_RATIO_ID),
)

JSON: Final = Benchmark(
    (
        Metric(JSON_ID, "readings/s", at_least(250_000), _WHAT.format(form="JSON arrays")),
        Metric(
            JSON_RATIO_ID, "ratio", at_least(5), _RATIO.format(form="`json.dumps` of each reading")
        ),
    ),
    measure=partial(measure, "json", JSON_ID, JSON_RATIO_ID),
)
