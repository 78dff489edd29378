"""Reads the fleet of 1 000 meters; gives the cost of simulating and encoding its readings.

python -m benchmarks.tasks.generate READINGS
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from benchmarks.peers.cost import cost_of, tell
from simulator.config import load_config
from simulator.encode import encode
from simulator.fleet import build_fleet
from simulator.meters import SEGMENT_SAMPLES, PoleMeters

FLEET: Final = Path(__file__).resolve().parents[2] / "simulator" / "configs" / "fleet_1000.yaml"
_METERS: Final = 1000
_FIRST_TICK: Final = 5_000_000


def generate(readings: int) -> dict[str, float]:
    """Cost of simulating and encoding `readings` as Arrow payloads."""
    config = load_config(FLEET, {"payload": "arrow"})
    poles = [PoleMeters(config, pole) for pole in build_fleet(config).poles]
    end = _FIRST_TICK + readings // _METERS

    def make() -> None:
        for tick in range(_FIRST_TICK, end, SEGMENT_SAMPLES):
            for meters in poles:
                samples = meters.samples(tick, min(tick + SEGMENT_SAMPLES, end))
                if samples is not None:
                    encode(samples, meters.pole, config.payload)

    return cost_of(make, 1)


if __name__ == "__main__":
    tell(generate(int(sys.argv[1])))
