"""Takes a seed; gives a simulated fleet in a lake, its injected sags, and what was observed.

The judge of `voltage_events`: a reference over the readings that arrived, written from the
definition of a low run, and the simulator's own record of what it injected.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ami_contract.lake import DataDir
from ami_store.registry import write_registry
from benchmarks.simulated_lake import FleetRun, Lateness, land_rows, stored_table
from simulator.backhaul import Fault
from simulator.config import SimulationConfig, parse_config
from simulator.fleet import registry_table
from simulator.truth import LOW_RUN_COLUMNS

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Key = tuple[str, int, int]
"""meter_id, first seq, last seq."""

START: Final = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
"""So that two hours touch three hours of the lake and two days."""

LATE: Final = Lateness(block_share=0.02, reading_share=0.01, max_s=86_400)
SINGLE_DROPS: Final = 0.015
BURST_DROPS: Final = 0.015
LONGEST_BURST_S: Final = 90
MAX_GAP_US: Final = 5_000_000
MIN_DURATION_US: Final = 5_000_000
CLOCK_TOLERANCE_US: Final = 1_000_000
INTERVAL_US: Final = 1_000_000


def sag_config(seed: int, poles: int, span: timedelta) -> SimulationConfig:
    """Ten meters a pole at 1 Hz with about one sag per meter and hour, and every fault.

    3 % of the readings are dropped, half of them alone and half in bursts of up to 90 s; 5 % come
    twice, 10 % out of order. Nominal voltage and the meters' clocks differ from seed to seed.
    """
    rng = np.random.default_rng([seed, 90])
    meters = [f"meter-{pole + 1:04d}-{n + 1:03d}" for pole in range(poles) for n in range(10)]
    bursts_per_meter = span.total_seconds() * BURST_DROPS / ((2 + LONGEST_BURST_S) / 2)
    silences = [
        {
            "meter_id": meter,
            "start": START + timedelta(seconds=int(rng.integers(round(span.total_seconds())))),
            "duration_s": int(rng.integers(2, LONGEST_BURST_S + 1)),
        }
        for meter in meters
        for _ in range(rng.poisson(bursts_per_meter))
    ]
    return parse_config(
        {
            "seed": seed,
            "fleet": {"feeders": max(1, poles // 10), "poles": poles, "meters_per_pole": 10},
            "sample_hz": 1,
            "batch_interval_s": 5,
            "drop_prob": SINGLE_DROPS,
            "duplicate_prob": 0.05,
            "reorder_prob": 0.10,
            "silences": silences,
            "voltage_nominal": (240, 230, 120)[seed % 3],
            "clock_offset_ms_range": [-400, 400],
            "clock_drift_ppm_range": [0, 0] if seed % 2 else [-5, 5],
            "voltage_sag_prob": 0.9,
            "voltage_sag_depth": [0.09, 0.6],
            "voltage_sag_duration_s": [1, 75],
            "interruption_prob": 0.1,
            "sag_scope_shares": {"meter": 0.8, "pole": 0.15, "feeder": 0.05},
        }
    )


@dataclass(frozen=True)
class Observed:
    """Distinct readings that arrived, by meter and seq.

    Attributes:
        meter: index into the fleet's `meter_ids`.
        seq: sample counter.
        event_us: time of the reading (µs since 1970).
        voltage_v: RMS voltage (V).
    """

    meter: Times
    seq: Times
    event_us: Times
    voltage_v: npt.NDArray[np.float64]


class SagFleet:
    """A simulated fleet, landed in two instalments.

    Args:
        seed: of everything.
        poles: of ten meters each.
        span: simulated time from `START`.
    """

    def __init__(self, seed: int, poles: int, span: timedelta) -> None:
        self.config = sag_config(seed, poles, span)
        self._end = START + span
        self._run = FleetRun(self.config, START, self._end, LATE)
        self.meter_ids = [m.meter_id for pole in self._run.poles for m in pole.pole.meters]
        self.stored = 0
        self._late: list[pa.Table] = []
        self._parts: list[tuple[Times, ...]] = []

    def land_on_time(self, data: DataDir) -> None:
        """Land what is stored before the window ends, and the registry."""
        cut = pa.scalar(self._end, pa.timestamp("us", "UTC"))
        number_of = {m.pole.pole_id: n for n, m in enumerate(self._run.poles)}
        for number, arrived in enumerate(self._run.arrivals()):
            rows = stored_table(arrived)
            self.stored += rows.num_rows
            is_late = pc.greater(rows.column("ingest_ts"), cut)
            land_rows(data, f"block-{number:06d}", rows.filter(pc.invert(is_late)))
            self._late.append(rows.filter(is_late))
            samples = arrived.samples
            assert not (samples.fault == Fault.DROPPED).any()
            meter = samples.meter.astype(np.int64) + 10 * number_of[arrived.pole.pole_id]
            columns = (meter, samples.seq, samples.event_ms * 1000, samples.voltage_v)
            self._parts.append(columns)  # type: ignore[arg-type]
        write_registry(data.registry, registry_table(self.config))

    def land_late(self, data: DataDir) -> None:
        """Land the rest, up to a day late."""
        land_rows(data, "late", pa.concat_tables(self._late))
        self._late.clear()

    def observed(self) -> Observed:
        """Everything that arrived; a copy is the same reading."""
        meter, seq, event_us, voltage_v = (
            np.concatenate(c) for c in zip(*self._parts, strict=True)
        )
        order = np.lexsort((seq, meter))
        meter, seq = meter[order], seq[order]
        fresh = np.append(True, (np.diff(meter) != 0) | (np.diff(seq) != 0))
        rows = order[fresh]
        return Observed(meter[fresh], seq[fresh], event_us[rows], voltage_v[rows])

    def injected(self) -> list[dict[str, Any]]:
        """Low runs as sampled, `low_runs.csv` of the simulator's ground truth."""
        return [
            dict(zip(LOW_RUN_COLUMNS, row, strict=True))
            for truth in self._run.truths
            for row in truth.low_run_rows()
        ]

    @property
    def pole_ids(self) -> list[str]:
        """Pole of each meter."""
        return [m.pole.pole_id for m in self._run.poles for _ in m.pole.meters]


def observed_events(fleet: SagFleet, observed: Observed) -> dict[Key, dict[str, Any]]:
    """Events by brute force over all that was observed.

    Two received readings with none between them in `seq` are neighbours. Low neighbours belong
    together when at most 5 s of samples are missing between them and their clocks are as far apart
    as their `seq`, to 1 s. Readings that belong together are an event when they span 5 s.
    """
    threshold_v = 220.0 * fleet.config.voltage_nominal / 240.0
    low = observed.voltage_v < threshold_v
    seq_step, us_step = np.diff(observed.seq), np.diff(observed.event_us)
    same_meter = np.diff(observed.meter) == 0
    clock_runs_on = same_meter & (np.abs(us_step - seq_step * INTERVAL_US) <= CLOCK_TOLERANCE_US)
    follows = clock_runs_on & (seq_step == 1)
    gap_us = (seq_step - 1) * INTERVAL_US
    belongs = low[1:] & low[:-1] & clock_runs_on & (gap_us <= MAX_GAP_US)
    firsts = np.flatnonzero(low & ~np.append(False, belongs))
    lasts = np.flatnonzero(low & ~np.append(belongs, False))
    events = {}
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        first_seq, last_seq = int(observed.seq[first]), int(observed.seq[last])
        span = last_seq - first_seq + 1
        if span * INTERVAL_US < MIN_DURATION_US:
            continue
        meter_id = fleet.meter_ids[observed.meter[first]]
        start_us = int(observed.event_us[first])
        volts = observed.voltage_v[first : last + 1]
        key = f"{meter_id}|{start_us}|{first_seq}"
        events[meter_id, first_seq, last_seq] = {
            "event_id": hashlib.md5(key.encode()).hexdigest(),
            "pole_id": fleet.pole_ids[observed.meter[first]],
            "start_us": start_us,
            "end_us": int(observed.event_us[last]),
            "duration_s": span * INTERVAL_US / 1e6,
            "min_voltage_v": float(volts.min()),
            "mean_voltage_v": round(float(volts.mean()), 6),
            "sample_count": last - first + 1,
            "missing_count": span - (last - first + 1),
            "truncated_start": not (first > 0 and bool(follows[first - 1])),
            "truncated_end": not (last < len(follows) and bool(follows[last])),
        }
    return events


def is_determined(received: Mask, first: int, last: int) -> bool:
    """Whether the samples of a low run tell exactly where it begins and ends.

    They do when its first and last sample and the ones before and after were received, and no more
    than 5 samples in a row are missing between.

    Args:
        received: of the meter, by sample; samples outside were not taken.
        first, last: samples of the run.
    """
    if first < 1 or last + 1 >= len(received):
        return False
    if not received[[first - 1, first, last, last + 1]].all():
        return False
    steps = np.diff(np.flatnonzero(received[first : last + 1]))
    return bool(len(steps) == 0 or (steps.max() - 1) * INTERVAL_US <= MAX_GAP_US)


@dataclass(frozen=True)
class Score:
    """Detected events beside the injected ones; an event is named by meter, first and last seq.

    Attributes:
        injected: injected low runs of 5 s or more.
        determined: of these, such that their samples determine them.
        exact: of these, found with exact first and last sample.
        touched: injected ones of which some part was found.
        detected: detected events.
        bounded: of these, such that the readings before and after were received.
        true: of these, injected low runs to the sample.
        unfounded: detected events that meet no injected low run.
    """

    injected: int
    determined: int
    exact: int
    touched: int
    detected: int
    bounded: int
    true: int
    unfounded: int

    @property
    def recall(self) -> float:
        """Share of the determined events that were found exactly."""
        return self.exact / self.determined

    @property
    def precision(self) -> float:
        """Share of the bounded detected events that are exactly what was injected."""
        return self.true / self.bounded


def score(fleet: SagFleet, observed: Observed, detected: dict[Key, dict[str, Any]]) -> Score:
    """Compare detected events with what the simulator injected."""
    origin = int(observed.seq.min())
    samples = int(observed.seq.max()) - origin + 1
    received = np.zeros((len(fleet.meter_ids), samples), dtype=np.bool_)
    received[observed.meter, observed.seq - origin] = True
    found = np.zeros_like(received)
    index_of = {meter_id: n for n, meter_id in enumerate(fleet.meter_ids)}
    for meter_id, first, last in detected:
        found[index_of[meter_id], first - origin : last - origin + 1] = True
    low = np.zeros_like(received)
    runs: set[Key] = set()
    counts = {"injected": 0, "determined": 0, "exact": 0, "touched": 0}
    for run in fleet.injected():
        meter, first, last = run["meter_id"], run["first_seq"], run["last_seq"]
        row, a, b = index_of[meter], first - origin, last - origin
        low[row, max(a, 0) : b + 1] = True
        runs.add((meter, first, last))
        if run["is_event"] != "true":
            continue
        counts["injected"] += 1
        counts["touched"] += bool(found[row, max(a, 0) : b + 1].any())
        if is_determined(received[row], a, b):
            counts["determined"] += 1
            counts["exact"] += (meter, first, last) in detected
    bounded = [
        key
        for key, event in detected.items()
        if not event["truncated_start"] and not event["truncated_end"]
    ]
    return Score(
        **counts,
        detected=len(detected),
        bounded=len(bounded),
        true=sum(key in runs for key in bounded),
        unfounded=sum(
            not low[index_of[meter], first - origin : last - origin + 1].any()
            for meter, first, last in detected
        ),
    )
