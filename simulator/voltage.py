"""Reads times, a pole's load and its schedules; gives voltage and what disturbed it.

Sags, swells and interruptions are drawn per subject (meter, pole, feeder) and UTC hour; forced
sags per pole and UTC slot. So a disturbance is the same from whatever time it is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.config import MAX_DISTURBANCE_S, SimulationConfig
from simulator.fleet import Pole
from simulator.load import HOUR_MS, Floats, Times
from simulator.streams import KnotNoise, Purpose, Stream

NORMAL_PU: Final = (0.94, 1.09)
"""Undisturbed voltage stays between these (pu): above the sag threshold 0.917, below swells."""

INTERRUPTION_PU: Final = 0.02
LAST_GASP_PU: Final = 0.05


class Kind(IntEnum):
    """What disturbs the voltage; a later kind hides an earlier one at the same time."""

    NONE = 0
    SWELL = 1
    SAG = 2
    INTERRUPTION = 3
    OUTAGE = 4


class Scope(IntEnum):
    """How many see a disturbance."""

    NONE = 0
    METER = 1
    POLE = 2
    FEEDER = 3


@dataclass(frozen=True)
class Disturbance:
    """A spell of voltage at `level_pu`, in [start_ms, end_ms).

    Attributes:
        meter: index of the only meter that sees it, or None for all of the pole.
    """

    kind: Kind
    scope: Scope
    start_ms: float
    end_ms: float
    level_pu: float
    meter: int | None = None


@dataclass(frozen=True)
class DisturbanceBlock:
    """Disturbances of a pole's meters, each [meters × times]; level is 1 where there is none."""

    level_pu: Floats
    kind: npt.NDArray[np.uint8]
    scope: npt.NDArray[np.uint8]


class Subject:
    """Disturbances that one meter, pole or feeder draws by itself.

    Args:
        config: the simulation.
        stream: randomness of the subject.
        scope: what it is; its share of the configured probabilities follows from it.
        meter: index of the meter within its pole, None for pole and feeder.
    """

    def __init__(
        self, config: SimulationConfig, stream: Stream, scope: Scope, meter: int | None = None
    ) -> None:
        self._config = config
        self._stream = stream
        self._scope = scope
        self._meter = meter
        self._share = config.sag_scope_shares.get(scope.name.lower(), 0.0)  # type: ignore[call-overload]
        self._hours: dict[int, list[Disturbance]] = {}

    def in_hour(self, hour: int) -> list[Disturbance]:
        """Disturbances that start in UTC hour `hour` (since 1970)."""
        found = self._hours.get(hour)
        if found is None:
            found = self._draw(hour)
            while len(self._hours) >= 96:
                del self._hours[min(self._hours)]
            self._hours[hour] = found
        return found

    def _draw(self, hour: int) -> list[Disturbance]:
        config = self._config
        if self._share == 0:
            return []
        u = self._stream.at(Purpose.DISTURBANCES, hour).random(12).reshape(3, 4).tolist()
        found = []
        for kind, probability, duration_s, level in (
            (
                Kind.SAG,
                config.voltage_sag_prob,
                config.voltage_sag_duration_s,
                tuple(1 - depth for depth in config.voltage_sag_depth),
            ),
            (
                Kind.SWELL,
                config.voltage_swell_prob,
                config.voltage_sag_duration_s,
                tuple(1 + height for height in config.voltage_swell_height),
            ),
            (
                Kind.INTERRUPTION,
                config.interruption_prob,
                config.interruption_duration_s,
                (INTERRUPTION_PU, INTERRUPTION_PU),
            ),
        ):
            chance, start, length, height = u[kind - Kind.SWELL]
            if chance < probability * self._share:
                start_ms = (hour + start) * HOUR_MS
                long_ms = 1000 * (duration_s[0] + (duration_s[1] - duration_s[0]) * length)
                level_pu = level[0] + (level[1] - level[0]) * height
                found.append(
                    Disturbance(
                        kind, self._scope, start_ms, start_ms + long_ms, level_pu, self._meter
                    )
                )
        return found


class ForcedSags:
    """One sag of ≥ 5 s on one meter of a pole in every UTC slot of `force_sag_every_s`.

    Args:
        config: the simulation.
        stream: randomness of the pole.
        meters: number of meters on the pole.
    """

    def __init__(self, config: SimulationConfig, stream: Stream, meters: int) -> None:
        self._config = config
        self._stream = stream
        self._meters = meters
        self._phase = float(stream.at(Purpose.TRAITS, 2).random())

    def between(self, first_ms: int, last_ms: int) -> list[Disturbance]:
        """Forced sags of every slot that meets [first_ms, last_ms]."""
        every_s = self._config.force_sag_every_s
        if every_s is None:
            return []
        every_ms = every_s * 1000
        slots = range(int(first_ms // every_ms), int(last_ms // every_ms) + 1)
        return [self._in_slot(slot, every_ms) for slot in slots]

    def _in_slot(self, slot: int, every_ms: float) -> Disturbance:
        interval_ms = self._config.sample_interval_ms
        origin_ms = self._config.seq_origin_ms
        who, length, depth = self._stream.at(Purpose.FORCED_SAG, slot).random(3).tolist()
        low, high = self._config.voltage_sag_depth
        longest = max(6, min(20, every_ms / 4000))
        samples = int(np.ceil((6 + (longest - 6) * length) * 1000 / interval_ms))
        # The first half of the slot leaves room for the whole sag, whatever the sample grid.
        wanted = slot * every_ms + self._phase * every_ms / 2
        start_ms = origin_ms + int(np.ceil((wanted - origin_ms) / interval_ms)) * interval_ms
        return Disturbance(
            Kind.SAG,
            Scope.METER,
            start_ms,
            start_ms + samples * interval_ms,
            1 - (low + (high - low) * depth),
            min(int(who * self._meters), self._meters - 1),
        )


def forced_sags(
    config: SimulationConfig, pole: Pole, first_ms: int, last_ms: int
) -> list[Disturbance]:
    """Forced sags of `pole` in every slot of `force_sag_every_s` that meets [first_ms, last_ms]."""
    stream = Stream(config.seed, "pole", pole.pole_id)
    return ForcedSags(config, stream, len(pole.meters)).between(first_ms, last_ms)


class PoleVoltage:
    """Voltage of the meters of one pole.

    Args:
        config: the simulation.
        streams: one per meter.
        pole_stream: randomness of the pole.
        feeder_stream: randomness of its feeder.
        rated_kva: of all transformers of the pole (kVA).
    """

    def __init__(
        self,
        config: SimulationConfig,
        streams: list[Stream],
        pole_stream: Stream,
        feeder_stream: Stream,
        rated_kva: float,
    ) -> None:
        self._config = config
        self._rated_kva = rated_kva
        self._meters = len(streams)
        offsets = np.array([s.at(Purpose.TRAITS, 3).standard_normal() for s in streams])
        self._offset_pu = np.clip(0.003 * offsets, -0.008, 0.008)[:, None]
        self._feeder_noise = KnotNoise([feeder_stream], Purpose.KNOTS_VOLTAGE, 300_000)
        self._pole_noise = KnotNoise([pole_stream], Purpose.KNOTS_VOLTAGE, 20_000)
        self._frequency_noise = KnotNoise([feeder_stream], Purpose.KNOTS_FREQUENCY, 15_000)
        self._subjects = [
            Subject(config, feeder_stream, Scope.FEEDER),
            Subject(config, pole_stream, Scope.POLE),
            *(Subject(config, s, Scope.METER, m) for m, s in enumerate(streams)),
        ]
        self._forced = ForcedSags(config, pole_stream, self._meters)

    def normal_pu(self, t_ms: Times, net_kw: Floats, noise: Floats) -> Floats:
        """Undisturbed voltage [meters × times] in pu.

        Args:
            t_ms: rising times (ms since 1970).
            net_kw: power of the meters [meters × times]; export lifts the voltage.
            noise: white noise, unit σ [meters × times].
        """
        drop = self._config.feeder_drop_pu * net_kw.sum(axis=0) / self._rated_kva
        shared = 1.012 - drop + 0.004 * self._feeder_noise.at(t_ms)[0]
        shared += 0.0015 * self._pole_noise.at(t_ms)[0]
        volts = shared + self._offset_pu + 0.0008 * noise
        return np.clip(volts, *NORMAL_PU)

    def frequency_hz(self, t_ms: Times) -> Floats:
        """Frequency at `t_ms`, the same for a whole feeder (Hz)."""
        noise = np.clip(self._frequency_noise.at(t_ms)[0], -4, 4)
        return self._config.frequency_hz + 0.012 * noise

    def disturbances(self, t_ms: Times) -> DisturbanceBlock | None:
        """What disturbs the voltage at the rising times `t_ms`; None: nothing does."""
        first, last = int(t_ms[0]), int(t_ms[-1])
        hours = range((first - round(MAX_DISTURBANCE_S * 1000)) // HOUR_MS, last // HOUR_MS + 1)
        spells = self._forced.between(first, last)
        for subject in self._subjects:
            for hour in hours:
                spells += subject.in_hour(hour)
        spells = [s for s in spells if s.end_ms > first and s.start_ms <= last]
        if not spells:
            return None
        shape = (self._meters, len(t_ms))
        level = np.ones(shape)
        kind = np.zeros(shape, dtype=np.uint8)
        scope = np.zeros(shape, dtype=np.uint8)
        # Deeper sags come later and hide shallower ones that they meet.
        for spell in sorted(spells, key=lambda s: (s.kind, -s.level_pu, s.start_ms)):
            a, b = np.searchsorted(t_ms, (spell.start_ms, spell.end_ms))
            rows = slice(None) if spell.meter is None else slice(spell.meter, spell.meter + 1)
            level[rows, a:b] = spell.level_pu
            kind[rows, a:b] = spell.kind
            scope[rows, a:b] = spell.scope
        return DisturbanceBlock(level, kind, scope)
