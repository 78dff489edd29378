"""Reads (seed, subject, position); gives random generators that no other position can disturb.

Every meter, pole and feeder owns a Philox key spawned from the seed; a counter addresses one block
of its stream, so any block can be made alone, in any order, in any process.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Purpose(IntEnum):
    """What a block of a subject's stream is for; each purpose has its own numbers."""

    TRAITS = 0
    SAMPLES = 1
    DISTURBANCES = 2
    FORCED_SAG = 3
    APPLIANCES = 4
    EV = 5
    DEMAND_RESPONSE = 6
    BACKHAUL_READING = 7
    BACKHAUL_MESSAGE = 8
    KNOTS_LOAD_SLOW = 16
    KNOTS_LOAD_FAST = 17
    KNOTS_POWER_FACTOR = 18
    KNOTS_VOLTAGE = 19
    KNOTS_FREQUENCY = 20
    KNOTS_CLOUD = 21


class Stream:
    """All randomness of one subject.

    Args:
        seed: seed of the simulation.
        kind: `meter`, `pole`, `feeder` …, so that equal names of different kinds differ.
        name: identifier of the subject.
    """

    def __init__(self, seed: int, kind: str, name: str) -> None:
        digest = hashlib.blake2b(f"{kind}\0{name}".encode(), digest_size=16).digest()
        spawn_key = tuple(int(word) for word in np.frombuffer(digest, dtype="<u4"))
        sequence = np.random.SeedSequence(seed, spawn_key=spawn_key)
        self._key = sequence.generate_state(2, np.uint64)

    def at(self, purpose: Purpose, block: int = 0) -> np.random.Generator:
        """Generator at the start of `block` (≥ 0) of the numbers for `purpose`."""
        counter = np.array((0, 0, block, purpose), dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=self._key, counter=counter))


KNOTS_PER_BLOCK = 128


class KnotNoise:
    """Smooth noise: normal knots at fixed times, linear in between, unit σ at the knots.

    The value at a time depends on the two knots around it only, so the noise is continuous
    without any state that is carried along.

    Args:
        streams: one per row of the result.
        purpose: which numbers of the streams to use.
        spacing_ms: time between two knots (ms).
    """

    def __init__(self, streams: list[Stream], purpose: Purpose, spacing_ms: int) -> None:
        self._streams = streams
        self._purpose = purpose
        self._spacing_ms = spacing_ms
        self._blocks: dict[int, npt.NDArray[np.float64]] = {}

    def _block(self, block: int) -> npt.NDArray[np.float64]:
        found = self._blocks.get(block)
        if found is None:
            found = np.stack(
                [s.at(self._purpose, block).standard_normal(KNOTS_PER_BLOCK) for s in self._streams]
            )
            while len(self._blocks) >= 3:
                del self._blocks[min(self._blocks)]
            self._blocks[block] = found
        return found

    def at(self, t_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Noise [streams × times] at the rising times `t_ms` (ms since 1970)."""
        knot = t_ms // self._spacing_ms
        first, last = int(knot[0]), int(knot[-1]) + 1
        blocks = range(first // KNOTS_PER_BLOCK, last // KNOTS_PER_BLOCK + 1)
        knots = np.concatenate([self._block(b) for b in blocks], axis=1)
        knot = knot - blocks[0] * KNOTS_PER_BLOCK
        share = (t_ms % self._spacing_ms) / self._spacing_ms
        left = knots[:, knot]
        return left + (knots[:, knot + 1] - left) * share
