"""Reads (config, seed, position); gives what the way from meter to cloud does to readings.

Faults per reading and latency per message are a schedule drawn beforehand: nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.config import NETWORK_LATENCY_MS, SimulationConfig
from simulator.streams import Purpose, Stream


class Fault(IntEnum):
    """What happens to one reading on its way; at most one of these."""

    NONE = 0
    DROPPED = 1
    MALFORMED = 2
    DUPLICATED = 3
    REORDERED = 4


class Damage(IntEnum):
    """How a malformed reading is damaged. The last two spoil a whole text, so such a reading
    travels in a message of its own."""

    NULL_FIELD = 0
    BOOLEAN_AS_NUMBER = 1
    NUMERIC_STRING = 2
    FRACTIONAL_SEQ = 3
    OUT_OF_RANGE = 4
    MISSING_FIELD = 5
    TIME_WITHOUT_ZONE = 6
    TRUNCATED = 7
    NOT_A_NUMBER = 8


OWN_MESSAGE: Final = Damage.TRUNCATED
"""From this kind of damage on a reading needs a message of its own."""

_DAMAGE_OF_DRAW: Final = np.array([*range(7), *range(7), 7, 8], dtype=np.uint8)


@dataclass(frozen=True)
class FaultBlock:
    """Faults of a pole's meters, each [meters × samples].

    Attributes:
        fault: a `Fault`.
        detail: batches of delay of a reordered reading, the `Damage` of a malformed one.
    """

    fault: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.uint8]


def reading_faults(
    config: SimulationConfig, streams: list[Stream], block: int, size: int
) -> FaultBlock | None:
    """Faults of the `size` samples of `block`; None when the configuration asks for none."""
    bounds = np.cumsum(
        [config.drop_prob, config.bad_payload_prob, config.duplicate_prob, config.reorder_prob]
    )
    if bounds[-1] == 0:
        return None
    fault = np.zeros((len(streams), size), dtype=np.uint8)
    detail = np.zeros((len(streams), size), dtype=np.uint8)
    bands, draws = [np.empty(0)], [np.empty(0)]
    for row, stream in enumerate(streams):
        rng = stream.at(Purpose.BACKHAUL_READING, block)
        band = rng.random(size)
        struck = band < bounds[-1]
        fault[row] = struck
        bands.append(band[struck])
        draws.append(rng.random(len(bands[-1])))
    # Faults are rare: what they are is worked out for those readings of all meters at once.
    hit = fault.astype(np.bool_)
    kinds = np.searchsorted(bounds, np.concatenate(bands), side="right") + 1
    draw = np.concatenate(draws)
    damages = _DAMAGE_OF_DRAW[(draw * len(_DAMAGE_OF_DRAW)).astype(np.int64)]
    batches = 1 + (draw * config.reorder_max_batches).astype(np.int64)
    fault[hit] = kinds
    detail[hit] = np.select(
        [kinds == Fault.MALFORMED, kinds == Fault.REORDERED, kinds == Fault.DUPLICATED],
        [damages, batches, 1],
        0,
    )
    return FaultBlock(fault, detail)


@dataclass(frozen=True)
class MessageDelays:
    """Delays of a gateway's messages (ms): until taken in, and from there to the cloud."""

    intake_ms: npt.NDArray[np.int64]
    backhaul_ms: npt.NDArray[np.float64]


def message_delays(
    config: SimulationConfig, profile: str, stream: Stream, window: int, count: int
) -> MessageDelays:
    """Delays of the `count` messages that a gateway makes in `window`.

    The intake delay is 1 to 20 ms (an assumption); the backhaul's is uniform within the bounds of
    its profile, plus jitter uniform within `jitter_ms_range`.
    """
    draws = stream.at(Purpose.BACKHAUL_MESSAGE, window).random((count, 3))
    low, high = NETWORK_LATENCY_MS[profile]
    jitter_low, jitter_high = config.jitter_ms_range
    return MessageDelays(
        intake_ms=1 + (draws[:, 0] * 20).astype(np.int64),
        backhaul_ms=low
        + (high - low) * draws[:, 1]
        + jitter_low
        + (jitter_high - jitter_low) * draws[:, 2],
    )
