"""Reads the samples of a run as they go out; gives a folder that says exactly what was injected.

Files of a run's folder `run-<start>-<config digest>/` (CSV with a header; times RFC 3339, UTC):

`meters.csv`: one row per meter and epoch.
    meter_id, pole_id, epoch (0, + 1 per replacement), first_seq, last_seq, first_event_ts,
    last_event_ts, generated (samples taken), dropped, duplicated, reordered, malformed (readings).
    Sent copies = generated - dropped + duplicated.

`faults.csv`: one row per reading that did not arrive once, whole and in time.
    meter_id, seq, event_ts, fault (dropped | duplicated | reordered | malformed), epoch.

`low_runs.csv`: one row per run of neighbouring samples below 220/240 of nominal voltage, as
sampled, whatever happened to the readings afterwards.
    meter_id, epoch, pole_id, scope (meter | pole | feeder | none), start_ts, end_ts (event_ts of
    the first and last low sample), first_seq, last_seq, duration_s ((last - first + 1) · T),
    min_voltage_v, depth_pu (1 - lowest level that was injected), is_event (duration_s ≥ 5),
    kind (sag | interruption | outage: of the lowest level), cut_start, cut_end (the run of the
    simulation began or ended within).

`high_runs.csv`: likewise for injected swells; max_voltage_v, height_pu.

`outages.csv`: meter_id, pole_id, start_ts (last gasp), end_ts (first sample after),
    last_gasp_seq; one row per meter and outage that began within the run.

`dr_events.csv`: event_id, pole_id, meter_id, shed_kwh (energy not used while shedding, minus what
    the rebound took back, within the run).

`overflow.csv`: meter_id, seq, event_ts of every reading copy that was dropped because the gateway's
    spool was full; the fields are empty where a damaged reading does not say.

`run.json`: schema, config_digest, config, seed, start, end, complete, totals.

The folder appears whole by rename; a run of the same start and configuration replaces it. What a
writer that was killed had moved aside comes back with the next run that is written.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ami_contract.errors import LakeError
from ami_store.files import REPLACED_PREFIX, fsync_folder, recover_folder, replace_folder
from simulator.backhaul import Fault
from simulator.config import SimulationConfig
from simulator.load import Floats, Times
from simulator.meters import PoleMeters, Samples, concat
from simulator.voltage import Kind, Scope

SCHEMA: Final = "1"

MOST_PARTS: Final = 256
"""Small pieces are joined at this number, so that a long run stays small in memory."""

_COUNTED: Final = (Fault.DROPPED, Fault.DUPLICATED, Fault.REORDERED, Fault.MALFORMED)

METER_COLUMNS: Final = (
    "meter_id", "pole_id", "epoch", "first_seq", "last_seq", "first_event_ts", "last_event_ts",
    "generated", "dropped", "duplicated", "reordered", "malformed",
)  # fmt: skip
FAULT_COLUMNS: Final = ("meter_id", "seq", "event_ts", "fault", "epoch")
LOW_RUN_COLUMNS: Final = (
    "meter_id", "epoch", "pole_id", "scope", "start_ts", "end_ts", "first_seq", "last_seq",
    "duration_s", "min_voltage_v", "depth_pu", "is_event", "kind", "cut_start", "cut_end",
)  # fmt: skip
HIGH_RUN_COLUMNS: Final = tuple(
    {"min_voltage_v": "max_voltage_v", "depth_pu": "height_pu"}.get(name, name)
    for name in LOW_RUN_COLUMNS
)
OUTAGE_COLUMNS: Final = ("meter_id", "pole_id", "start_ts", "end_ts", "last_gasp_seq")
OVERFLOW_COLUMNS: Final = ("meter_id", "seq", "event_ts")
DR_COLUMNS: Final = ("event_id", "pole_id", "meter_id", "shed_kwh")


@dataclass(frozen=True)
class Totals:
    """Sums over a run, in readings."""

    generated: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    malformed: int = 0

    @property
    def copies(self) -> int:
        """Reading copies that went out."""
        return self.generated - self.dropped + self.duplicated


class PoleTruth:
    """Collects what happened at one pole.

    Args:
        config: the simulation.
        meters: the pole's meters.
        keeps_details: whether single faults and runs are kept, or counts only.
    """

    def __init__(
        self, config: SimulationConfig, meters: PoleMeters, *, keeps_details: bool = True
    ) -> None:
        self._config = config
        self._keeps_details = keeps_details
        self._meters = meters
        epochs = 1 + max(
            (
                sum(r.meter_id == m.meter_id for r in config.replacements)
                for m in meters.pole.meters
            ),
            default=0,
        )
        self._epochs = epochs
        slots = len(meters) * epochs
        self._generated = np.zeros(slots, dtype=np.int64)
        self._counts = {fault: np.zeros(slots, dtype=np.int64) for fault in _COUNTED}
        self._first = np.full((slots, 2), -1, dtype=np.int64)
        self._last = np.full((slots, 2), -1, dtype=np.int64)
        self._low: list[Samples] = []
        self._high: list[Samples] = []
        self._faulty: list[Samples] = []
        self._shed: dict[int, Floats] = {}
        self._first_tick: int | None = None
        self._end_tick = 0

    def add(self, samples: Samples | None, first_tick: int, end_tick: int) -> None:
        """Take in the samples of ticks [first_tick, end_tick), which follow those before."""
        if self._first_tick is None:
            self._first_tick = first_tick
        self._end_tick = end_tick
        for index, energy in self._shed_of(first_tick, end_tick).items():
            self._shed[index] = self._shed.get(index, 0.0) + energy
        if samples is None:
            return
        slot = samples.meter if self._epochs == 1 else samples.meter * self._epochs + samples.epoch
        slots = len(self._generated)
        self._generated += np.bincount(slot, minlength=slots)
        # Samples come by rising tick: the last write to a slot is its last sample, and in
        # reverse its first.
        stamp = np.column_stack((samples.seq, samples.event_ms))
        self._last[slot] = stamp
        if (self._first[slot, 0] < 0).any():
            new = np.flatnonzero(self._first[slot, 0] < 0)[::-1]
            self._first[slot[new]] = stamp[new]
        if samples.fault.any():
            for fault, counts in self._counts.items():
                counts += np.bincount(slot[samples.fault == fault], minlength=slots)
            self._keep(self._faulty, samples, samples.fault != Fault.NONE)
        if samples.kind.any():
            self._keep(self._low, samples, samples.voltage_v < self._config.sag_threshold_v)
            self._keep(self._high, samples, samples.kind == Kind.SWELL)

    def _keep(self, parts: list[Samples], samples: Samples, rows: npt.NDArray[np.bool_]) -> None:
        if not self._keeps_details or not rows.any():
            return
        parts.append(samples.take(rows))
        if len(parts) >= MOST_PARTS:
            parts[:] = [concat(parts)]

    def _shed_of(self, first_tick: int, end_tick: int) -> dict[int, Floats]:
        return self._meters.shed_kwh(first_tick, end_tick) if self._config.dr_events else {}

    def totals(self) -> Totals:
        """Sums over the pole."""
        return Totals(
            int(self._generated.sum()),
            *(int(self._counts[fault].sum()) for fault in _COUNTED),
        )

    def meter_rows(self) -> list[tuple[Any, ...]]:
        """Rows of `meters.csv`."""
        return [
            (
                meter.meter_id,
                self._meters.pole.pole_id,
                epoch,
                int(self._first[slot, 0]),
                int(self._last[slot, 0]),
                rfc3339(self._first[slot, 1]),
                rfc3339(self._last[slot, 1]),
                int(self._generated[slot]),
                *(int(self._counts[fault][slot]) for fault in _COUNTED),
            )
            for index, meter in enumerate(self._meters.pole.meters)
            for epoch in range(self._epochs)
            if self._generated[slot := index * self._epochs + epoch]
        ]

    def fault_rows(self) -> list[tuple[Any, ...]]:
        """Rows of `faults.csv`, by meter and tick."""
        if not self._faulty:
            return []
        s = _by_meter(concat(self._faulty))
        ids = [m.meter_id for m in self._meters.pole.meters]
        return [
            (ids[meter], seq, rfc3339(event_ms), Fault(fault).name.lower(), epoch)
            for meter, seq, event_ms, fault, epoch in zip(
                s.meter.tolist(),
                s.seq.tolist(),
                s.event_ms.tolist(),
                s.fault.tolist(),
                s.epoch.tolist(),
                strict=True,
            )
        ]

    def low_run_rows(self) -> list[tuple[Any, ...]]:
        """Rows of `low_runs.csv`, by meter and time."""
        return self._run_rows(self._low, lowest=True)

    def high_run_rows(self) -> list[tuple[Any, ...]]:
        """Rows of `high_runs.csv`, by meter and time."""
        return self._run_rows(self._high, lowest=False)

    def _run_rows(self, parts: list[Samples], *, lowest: bool) -> list[tuple[Any, ...]]:
        if not parts:
            return []
        s = _by_meter(concat(parts))
        new = np.ones(len(s), dtype=np.bool_)
        new[1:] = (np.diff(s.meter) != 0) | (np.diff(s.tick) != 1) | (np.diff(s.epoch) != 0)
        starts = np.flatnonzero(new)
        ends = np.append(starts[1:], len(s))
        interval_s = self._config.sample_interval_ms / 1000
        rows = []
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
            levels = s.level_pu[a:b]
            extreme = a + int(np.argmin(levels) if lowest else np.argmax(levels))
            volts = s.voltage_v[a:b]
            duration_s = round((b - a) * interval_s, 3)
            rows.append(
                (
                    self._meters.pole.meters[int(s.meter[a])].meter_id,
                    int(s.epoch[a]),
                    self._meters.pole.pole_id,
                    Scope(s.scope[extreme]).name.lower(),
                    rfc3339(s.event_ms[a]),
                    rfc3339(s.event_ms[b - 1]),
                    int(s.seq[a]),
                    int(s.seq[b - 1]),
                    duration_s,
                    float(volts.min() if lowest else volts.max()),
                    round(abs(1 - float(s.level_pu[extreme])), 6),
                    str(duration_s >= 5).lower(),
                    Kind(s.kind[extreme]).name.lower(),
                    str(int(s.tick[a]) == self._first_tick).lower(),
                    str(int(s.tick[b - 1]) == self._end_tick - 1).lower(),
                )
            )
        return rows

    def outage_rows(self) -> list[tuple[Any, ...]]:
        """Rows of `outages.csv`."""
        if self._first_tick is None:
            return []
        origin_ms, interval_ms = self._config.seq_origin_ms, self._config.sample_interval_ms
        return [
            (
                self._meters.pole.meters[meter].meter_id,
                self._meters.pole.pole_id,
                rfc3339(origin_ms + gasp * interval_ms),
                rfc3339(origin_ms + back * interval_ms),
                self._meters.seq_at(meter, gasp),
            )
            for meter, gasp, back in self._meters.outage_ticks()
            if self._first_tick <= gasp < self._end_tick
        ]

    def dr_rows(self) -> list[tuple[Any, ...]]:
        """Rows of `dr_events.csv`."""
        return [
            (
                self._config.dr_events[index].event_id,
                self._meters.pole.pole_id,
                meter.meter_id,
                round(float(energy[m]), 6),
            )
            for index, energy in sorted(self._shed.items())
            for m, meter in enumerate(self._meters.pole.meters)
        ]


def sum_totals(totals: Iterable[Totals]) -> Totals:
    """Sums over several poles."""
    parts = [(t.generated, t.dropped, t.duplicated, t.reordered, t.malformed) for t in totals]
    return Totals(*(sum(column) for column in zip(*parts, strict=True))) if parts else Totals()


def write_truth(
    folder: Path,
    config: SimulationConfig,
    poles: Sequence[PoleTruth],
    *,
    start_ms: int,
    end_ms: int,
    complete: bool,
    overflow: Iterable[Sequence[str]] = (),
) -> Path:
    """Write the folder of one run below `folder` and return it.

    Args:
        folder: holds one folder per run; made when missing.
        config: the simulation.
        poles: what happened.
        start_ms, end_ms: window of the run (ms since 1970).
        complete: whether everything that was generated was handed over.
        overflow: rows of `overflow.csv`.

    Raises:
        LakeError: a file cannot be written.
    """
    start = rfc3339(start_ms)
    name = f"run-{start.replace('-', '').replace(':', '').removesuffix('Z').split('.')[0]}Z"
    name += f"-{config.digest()}"
    final, partial = folder / name, folder / f".{name}.{os.getpid()}"
    totals = sum_totals(pole.totals() for pole in poles)
    overflow_rows = [tuple(row) for row in overflow]
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for file, columns, rows in (
            ("meters.csv", METER_COLUMNS, [r for p in poles for r in p.meter_rows()]),
            ("faults.csv", FAULT_COLUMNS, [r for p in poles for r in p.fault_rows()]),
            ("low_runs.csv", LOW_RUN_COLUMNS, [r for p in poles for r in p.low_run_rows()]),
            ("high_runs.csv", HIGH_RUN_COLUMNS, [r for p in poles for r in p.high_run_rows()]),
            ("outages.csv", OUTAGE_COLUMNS, [r for p in poles for r in p.outage_rows()]),
            ("dr_events.csv", DR_COLUMNS, [r for p in poles for r in p.dr_rows()]),
            ("overflow.csv", OVERFLOW_COLUMNS, overflow_rows),
        ):
            _write_csv(partial / file, columns, rows)
        summary = {
            "schema": SCHEMA,
            "config_digest": config.digest(),
            "config": config.model_dump(mode="json"),
            "seed": config.seed,
            "start": start,
            "end": rfc3339(end_ms),
            "complete": complete,
            "totals": {
                "generated": totals.generated,
                "dropped": totals.dropped,
                "duplicated": totals.duplicated,
                "reordered": totals.reordered,
                "malformed": totals.malformed,
                "copies": totals.copies,
                "overflowed": len(overflow_rows),
            },
        }
        _write_text(partial / "run.json", json.dumps(summary, indent=2) + "\n")
        fsync_folder(partial)
        for aside in folder.glob(f"{REPLACED_PREFIX}run-*"):
            recover_folder(folder / aside.name.removeprefix(REPLACED_PREFIX))
        replace_folder(partial, final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise LakeError(f"truth cannot be written to {final}: {error.strerror}") from error
    return final


def rfc3339(ms: int | np.int64) -> str:
    """Milliseconds since 1970 as `2026-01-01T00:00:00.000Z`."""
    return f"{np.datetime64(int(ms), 'ms')}Z"


def _by_meter(samples: Samples) -> Samples:
    order: Times = np.lexsort((samples.tick, samples.meter))
    return samples.take(order)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
