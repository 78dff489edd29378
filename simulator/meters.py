"""Reads a configuration and a pole; gives its meters' samples for any range of the sample grid.

Samples are made in segments of a fixed number of samples, each a pure function of (configuration,
pole, segment), so the way a run is cut into blocks never shows in the readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ami_contract.reading import WIRE_SCHEMA
from simulator.backhaul import Fault, FaultBlock, reading_faults
from simulator.config import SimulationConfig
from simulator.fleet import Pole
from simulator.load import Floats, PoleLoad, Times
from simulator.streams import KnotNoise, Purpose, Stream
from simulator.voltage import LAST_GASP_PU, DisturbanceBlock, Kind, PoleVoltage, Scope

SEGMENT_SAMPLES: Final = 300

FLAG_NAMES: Final = ((), ("last_gasp",), ("power_restored",))
"""Quality flags by flag code."""

LAST_GASP: Final = 1
POWER_RESTORED: Final = 2


@dataclass(frozen=True)
class Samples:
    """Readings of one pole as columns, with what was done to each.

    Attributes:
        meter: index of the meter within the pole.
        tick: number of the sample on the grid since `seq_origin`.
        seq, epoch: counter of the meter and how often it started anew before.
        event_ms: time stamp of the meter (ms since 1970).
        voltage_v, current_a, power_kw, reactive_kvar, freq_hz: as on the wire, rounded.
        flag: index into `FLAG_NAMES`.
        fault, detail: see `backhaul.FaultBlock`.
        kind, scope: what disturbed the voltage, see `voltage`.
        level_pu: voltage of that disturbance, 1 where there is none.
    """

    meter: npt.NDArray[np.int32]
    tick: Times
    seq: Times
    epoch: npt.NDArray[np.int16]
    event_ms: Times
    voltage_v: Floats
    current_a: Floats
    power_kw: Floats
    reactive_kvar: Floats
    freq_hz: Floats
    flag: npt.NDArray[np.uint8]
    fault: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.uint8]
    kind: npt.NDArray[np.uint8]
    scope: npt.NDArray[np.uint8]
    level_pu: Floats

    def __len__(self) -> int:
        return len(self.tick)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice) -> Samples:
        """The rows that `rows` selects."""
        return Samples(*(getattr(self, name)[rows] for name in _COLUMNS))


_COLUMNS: Final = tuple(f.name for f in fields(Samples))


def concat(parts: list[Samples]) -> Samples:
    """All rows of `parts` (at least one), in their order."""
    if len(parts) == 1:
        return parts[0]
    return Samples(*(np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS))


@dataclass(frozen=True)
class _Segment:
    """`SEGMENT_SAMPLES` samples of a pole, [meters × samples] unless said otherwise."""

    first_tick: int
    tick: Times  # [samples]
    event_ms: Times
    voltage_v: Floats
    current_a: Floats
    power_kw: Floats
    reactive_kvar: Floats
    freq_hz: Floats  # [samples]
    faults: FaultBlock | None
    disturbances: DisturbanceBlock | None
    service: _ServiceBlock | None
    shed_kw: dict[int, Floats]


@dataclass(frozen=True)
class _ServiceBlock:
    """What differs from `seq` = tick, each [meters × samples]."""

    seq: Times
    epoch: npt.NDArray[np.int16]
    powered: npt.NDArray[np.bool_]
    silent: npt.NDArray[np.bool_]
    flag: npt.NDArray[np.uint8]


class _Service:
    """Outages, replacements and silences of one meter, in ticks."""

    def __init__(self, config: SimulationConfig, subjects: set[str], meter_id: str) -> None:
        def tick_of(seconds: float) -> int:
            return -int((config.seq_origin_ms - round(seconds * 1000)) // config.sample_interval_ms)

        spans = sorted(
            (tick_of(o.start.timestamp()), tick_of(o.start.timestamp() + o.duration_s))
            for o in config.outages
            if o.subject in subjects
        )
        merged: list[tuple[int, int]] = []
        for a, b in spans:
            if b <= a:
                continue  # fell between two samples
            if merged and a <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], b))
            else:
                merged.append((a, b))
        self.outages = merged
        self.resets = sorted(
            tick_of(r.at.timestamp()) for r in config.replacements if r.meter_id == meter_id
        )
        self.silences = [
            (tick_of(s.start.timestamp()), tick_of(s.start.timestamp() + s.duration_s))
            for s in config.silences
            if s.meter_id == meter_id
        ]
        self._gasps = np.array([a for a, _ in merged], dtype=np.int64)
        self._lost = np.array([b - a - 1 for a, b in merged], dtype=np.int64)
        self._lost_before = np.concatenate([[0], np.cumsum(self._lost)])

    @property
    def is_plain(self) -> bool:
        """Whether `seq` is the tick, always."""
        return not (self.outages or self.resets or self.silences)

    def sampled_before(self, tick: Times) -> Times:
        """Samples taken before each tick since the origin."""
        if not self.outages:
            return tick
        index = np.searchsorted(self._gasps, tick, side="left")
        before = self._lost_before[index]
        # Inside an outage the count stands still at the sample after the last gasp.
        last = np.maximum(index - 1, 0)
        inside = (index > 0) & (tick < self._gasps[last] + self._lost[last] + 1)
        count = tick - before
        return np.where(inside, self._gasps[last] + 1 - self._lost_before[last], count)

    def apply(self, block: _ServiceBlock, row: int, tick: Times) -> None:
        """Write this meter's row of `block`."""
        count = self.sampled_before(tick)
        if self.resets:
            resets = np.array(self.resets, dtype=np.int64)
            epoch = np.searchsorted(resets, tick, side="right")
            base = np.concatenate([[0], self.sampled_before(resets)])
            count = count - base[epoch]
            block.epoch[row] = epoch
        block.seq[row] = count
        for a, b in self.outages:
            block.powered[row] &= (tick <= a) | (tick >= b)
            block.flag[row, tick == a] = LAST_GASP
            block.flag[row, tick == b] = POWER_RESTORED
        for a, b in self.silences:
            block.silent[row] |= (tick >= a) & (tick < b)


class PoleMeters:
    """The meters of one pole.

    Args:
        config: the simulation.
        pole: which pole.
    """

    def __init__(self, config: SimulationConfig, pole: Pole) -> None:
        self.config = config
        self.pole = pole
        self._interval_ms = config.sample_interval_ms
        self._origin_ms = config.seq_origin_ms
        self._streams = [Stream(config.seed, "meter", m.meter_id) for m in pole.meters]
        pole_stream = Stream(config.seed, "pole", pole.pole_id)
        feeder_stream = Stream(config.seed, "feeder", pole.feeder_id)
        # Poles change segment at different times, so a live run meets an even load.
        self._phase = int(pole_stream.at(Purpose.TRAITS).integers(SEGMENT_SAMPLES))
        self._load = PoleLoad(config, self._streams, pole_stream, pole.latitude)
        self._voltage = PoleVoltage(
            config, self._streams, pole_stream, feeder_stream, pole.rated_kva * pole.transformers
        )
        traits = np.stack([s.at(Purpose.TRAITS, 4).random(3) for s in self._streams])
        self._power_factor = (0.96 + 0.02 * traits[:, 0])[:, None]
        self._factor_noise = KnotNoise(self._streams, Purpose.KNOTS_POWER_FACTOR, 300_000)
        self._clock_offset_ms = _spread(config.clock_offset_ms_range, traits[:, 1])
        self._drift_ppm = _spread(config.clock_drift_ppm_range, traits[:, 2])
        self._services = [
            _Service(config, {pole.feeder_id, pole.pole_id, m.meter_id}, m.meter_id)
            for m in pole.meters
        ]
        self._is_plain = all(s.is_plain for s in self._services)
        self._segments: dict[int, _Segment] = {}

    def __len__(self) -> int:
        return len(self.pole.meters)

    def samples(self, first_tick: int, end_tick: int) -> Samples | None:
        """Samples of ticks [first_tick, end_tick), by tick, then meter; None: there are none."""
        parts = [self._flat(segment, a, b) for segment, a, b in self._pieces(first_tick, end_tick)]
        parts = [part for part in parts if len(part)]
        return concat(parts) if parts else None

    def shed_kwh(self, first_tick: int, end_tick: int) -> dict[int, Floats]:
        """Energy each meter shed in ticks [first_tick, end_tick), by event index (kWh)."""
        total: dict[int, Floats] = {}
        for segment, a, b in self._pieces(first_tick, end_tick):
            for index, shed_kw in segment.shed_kw.items():
                energy = shed_kw[:, a:b].sum(axis=1) * self._interval_ms / 3_600_000
                total[index] = total.get(index, 0.0) + energy
        return total

    def _pieces(self, first_tick: int, end_tick: int) -> Iterator[tuple[_Segment, int, int]]:
        tick = first_tick
        while tick < end_tick:
            segment = self._segment((tick + self._phase) // SEGMENT_SAMPLES)
            until = min(end_tick, segment.first_tick + SEGMENT_SAMPLES)
            yield segment, tick - segment.first_tick, until - segment.first_tick
            tick = until

    def _segment(self, index: int) -> _Segment:
        found = self._segments.get(index)
        if found is None:
            found = self._make(index)
            self._segments = {k: v for k, v in self._segments.items() if k == index - 1}
            self._segments[index] = found
        elif len(self._segments) > 1 and index == max(self._segments):
            self._segments = {index: found}
        return found

    def _make(self, index: int) -> _Segment:
        config = self.config
        first_tick = index * SEGMENT_SAMPLES - self._phase
        tick = np.arange(first_tick, first_tick + SEGMENT_SAMPLES, dtype=np.int64)
        t_ms = self._origin_ms + tick * self._interval_ms
        power = self._load.power(t_ms)
        noise = np.stack(
            [
                s.at(Purpose.SAMPLES, index).standard_normal((2, SEGMENT_SAMPLES), dtype=np.float32)
                for s in self._streams
            ]
        ).astype(np.float64)
        load_kw = power.load_kw * (1 + 0.01 * np.clip(noise[:, 0], -4, 4))
        net_kw = load_kw - power.pv_kw
        volts = self._voltage.normal_pu(t_ms, power.load_kw - power.pv_kw, noise[:, 1])
        factor = np.clip(self._power_factor + 0.006 * self._factor_noise.at(t_ms), 0.9505, 0.9895)
        reactive = load_kw * np.sqrt(1 / factor**2 - 1)
        spells = self._voltage.disturbances(t_ms)
        if spells is not None:
            touched = spells.kind > 0
            wobble = 1 + np.clip(0.001 * noise[:, 1], -0.004, 0.004)
            volts = np.where(touched, spells.level_pu * wobble, volts)
            # A household is taken for a constant impedance while the voltage is disturbed.
            strength = np.where(touched, np.minimum(spells.level_pu, 1.2) ** 2, 1.0)
            net_kw = net_kw * strength
            reactive = reactive * strength
        service = self._service_block(tick)
        if service is not None:
            gasp = service.flag == LAST_GASP
            if gasp.any():
                volts = np.where(gasp, LAST_GASP_PU, volts)
                net_kw = np.where(gasp, 0.0, net_kw)
                reactive = np.where(gasp, 0.0, reactive)
                spells = _with_gasps(spells, gasp)
        voltage_v = np.round(volts * config.voltage_nominal, 2)
        power_kw = np.round(net_kw, 4) + 0.0  # + 0.0 turns −0.0 into 0.0
        reactive_kvar = np.round(reactive, 4)
        current_a = np.round(1000 * np.hypot(power_kw, reactive_kvar) / voltage_v, 3)
        return _Segment(
            first_tick=first_tick,
            tick=tick,
            event_ms=self._event_ms(t_ms),
            voltage_v=voltage_v,
            current_a=current_a,
            power_kw=power_kw,
            reactive_kvar=reactive_kvar,
            freq_hz=np.round(self._voltage.frequency_hz(t_ms), 3),
            faults=reading_faults(config, self._streams, index, SEGMENT_SAMPLES),
            disturbances=spells,
            service=service,
            shed_kw=power.shed_kw,
        )

    def _event_ms(self, t_ms: Times) -> Times:
        """Time stamps: [samples] where all clocks are right, else [meters × samples]."""
        if not (self._clock_offset_ms.any() or self._drift_ppm.any()):
            return t_ms
        half_day_ms = 12 * 3_600_000
        phase = t_ms % (2 * half_day_ms)
        strayed = np.where(phase < half_day_ms, phase, 2 * half_day_ms - phase)
        error = self._clock_offset_ms[:, None] + self._drift_ppm[:, None] * 1e-6 * strayed
        return t_ms + np.rint(error).astype(np.int64)

    def _service_block(self, tick: Times) -> _ServiceBlock | None:
        if self._is_plain:
            return None
        shape = (len(self), len(tick))
        block = _ServiceBlock(
            seq=np.broadcast_to(tick, shape).copy(),
            epoch=np.zeros(shape, dtype=np.int16),
            powered=np.ones(shape, dtype=np.bool_),
            silent=np.zeros(shape, dtype=np.bool_),
            flag=np.zeros(shape, dtype=np.uint8),
        )
        for row, service in enumerate(self._services):
            if not service.is_plain:
                service.apply(block, row, tick)
        return block

    def _flat(self, segment: _Segment, a: int, b: int) -> Samples:
        meters = len(self)
        rows = meters * (b - a)

        def columns(matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            if matrix.ndim == 1:
                return np.repeat(matrix[a:b], meters)
            return matrix[:, a:b].T.ravel()

        zeros = np.zeros(rows, dtype=np.uint8)
        tick = columns(segment.tick)
        faults, spells, service = segment.faults, segment.disturbances, segment.service
        samples = Samples(
            meter=np.tile(np.arange(meters, dtype=np.int32), b - a),
            tick=tick,  # type: ignore[arg-type]
            seq=tick if service is None else columns(service.seq),  # type: ignore[arg-type]
            epoch=np.zeros(rows, dtype=np.int16) if service is None else columns(service.epoch),  # type: ignore[arg-type]
            event_ms=columns(segment.event_ms),  # type: ignore[arg-type]
            voltage_v=columns(segment.voltage_v),  # type: ignore[arg-type]
            current_a=columns(segment.current_a),  # type: ignore[arg-type]
            power_kw=columns(segment.power_kw),  # type: ignore[arg-type]
            reactive_kvar=columns(segment.reactive_kvar),  # type: ignore[arg-type]
            freq_hz=columns(segment.freq_hz),  # type: ignore[arg-type]
            flag=zeros if service is None else columns(service.flag),  # type: ignore[arg-type]
            fault=zeros if faults is None else columns(faults.fault),  # type: ignore[arg-type]
            detail=zeros if faults is None else columns(faults.detail),  # type: ignore[arg-type]
            kind=zeros if spells is None else columns(spells.kind),  # type: ignore[arg-type]
            scope=zeros if spells is None else columns(spells.scope),  # type: ignore[arg-type]
            level_pu=np.ones(rows) if spells is None else columns(spells.level_pu),  # type: ignore[arg-type]
        )
        if service is not None:
            silent = columns(service.silent)
            if silent.any():
                fault = np.where(silent, np.uint8(Fault.DROPPED), samples.fault)
                samples = Samples(
                    *(fault if name == "fault" else getattr(samples, name) for name in _COLUMNS)
                )
            powered = columns(service.powered)
            if not powered.all():
                samples = samples.take(powered)  # type: ignore[arg-type]
        return samples

    def outage_ticks(self) -> list[tuple[int, int, int]]:
        """(meter index, tick of the last gasp, tick of the return) of every outage."""
        return [(m, a, b) for m, s in enumerate(self._services) for a, b in s.outages]

    def seq_at(self, meter: int, tick: int) -> int:
        """`seq` of the sample that `meter` takes at `tick`."""
        service = self._services[meter]
        if service.is_plain:
            return tick
        block = _ServiceBlock(
            *(np.zeros((1, 1), dtype=d) for d in (np.int64, np.int16, np.bool_, np.bool_, np.uint8))
        )
        service.apply(block, 0, np.array([tick], dtype=np.int64))
        return int(block.seq[0, 0])


def arrow_batch(samples: Samples, pole: Pole) -> pa.RecordBatch:
    """`samples` as a record batch of `WIRE_SCHEMA`."""
    meter_ids = pa.DictionaryArray.from_arrays(
        pa.array(samples.meter), pa.array([m.meter_id for m in pole.meters])
    ).cast(pa.string())
    count = len(samples)
    if samples.flag.any():
        flags = pa.array([list(FLAG_NAMES[f]) for f in samples.flag], pa.list_(pa.string()))
    else:
        flags = pa.ListArray.from_arrays(
            pa.array(np.zeros(count + 1, dtype=np.int32)), pa.array([], pa.string())
        )
    return pa.RecordBatch.from_arrays(
        [
            pa.array(samples.event_ms * 1000).view(WIRE_SCHEMA.field("event_ts").type),
            meter_ids,
            pa.repeat(pa.scalar(pole.pole_id, pa.string()), count),
            pa.array(samples.seq),
            pa.array(samples.voltage_v),
            pa.array(samples.current_a),
            pa.array(samples.power_kw),
            pa.array(samples.reactive_kvar),
            pa.array(samples.freq_hz),
            flags,
        ],
        schema=WIRE_SCHEMA,
    )


def _spread(bounds: tuple[float, float], share: Floats) -> Floats:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _with_gasps(spells: DisturbanceBlock | None, gasp: npt.NDArray[np.bool_]) -> DisturbanceBlock:
    level = np.ones(gasp.shape) if spells is None else spells.level_pu.copy()
    kind = np.zeros(gasp.shape, np.uint8) if spells is None else spells.kind.copy()
    scope = np.zeros(gasp.shape, np.uint8) if spells is None else spells.scope.copy()
    level[gasp] = LAST_GASP_PU
    kind[gasp] = Kind.OUTAGE
    scope[gasp] = Scope.NONE
    return DisturbanceBlock(level, kind, scope)
