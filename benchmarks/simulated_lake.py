"""Reads a simulator config; gives a compacted lake of its readings, what arrived, and the truth.

The way from the gateway to the landing is left out: readings get the arrival that the backhaul's
faults would give them, and land as rows. So a lake of millions of readings stands in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder
from ami_contract.reading import ROW_SCHEMA
from ami_store.files import write_bytes
from ami_store.lake import MANIFEST, compact_hour, compaction_connection, hours, land
from ami_store.registry import write_registry
from ami_store.sql import file_list, text_literal
from simulator.backhaul import Fault
from simulator.config import SimulationConfig
from simulator.fleet import Pole, build_fleet, registry_table
from simulator.meters import PoleMeters, Samples, arrow_batch
from simulator.truth import PoleTruth

Times = npt.NDArray[np.int64]

NORMAL_DELAY_S: Final = 2.0
"""From measuring to storing, where nothing goes wrong (s)."""

BLOCK: Final = timedelta(minutes=15)
"""What a gateway holds back together when it is late."""

_US: Final = 1_000_000


@dataclass(frozen=True)
class Lateness:
    """Which readings come late: whole blocks of a gateway, and single readings.

    Attributes:
        block_share, reading_share: of all blocks, and of all readings.
        max_s: longest delay; delays are uniform up to it (s).
    """

    block_share: float = 0.0
    reading_share: float = 0.0
    max_s: float = 86_400.0


ON_TIME: Final = Lateness()


@dataclass(frozen=True)
class Arrived:
    """Readings of a block of a pole as they are stored, copies included.

    Attributes:
        pole: where they come from.
        samples: the readings.
        ingest_us: when each was stored (µs since 1970).
    """

    pole: Pole
    samples: Samples
    ingest_us: Times


class FleetRun:
    """A simulated window of a fleet.

    Args:
        config: what to simulate; its faults are applied, none of its readings is damaged.
        start, end: the window, end exclusive, in whole samples (UTC).
        lateness: on top of the config's own reordering.
    """

    def __init__(
        self,
        config: SimulationConfig,
        start: datetime,
        end: datetime,
        lateness: Lateness = ON_TIME,
    ) -> None:
        self.config = config
        self.poles = [PoleMeters(config, pole) for pole in build_fleet(config).poles]
        self.truths = [PoleTruth(config, meters) for meters in self.poles]
        self._start, self._end = start, end
        self._lateness = lateness

    def arrivals(self) -> Iterator[Arrived]:
        """Every block of every pole, block by block; fills `truths` on its way."""
        block_start = self._start
        while block_start < self._end:
            block_end = min(block_start + BLOCK, self._end)
            first, end = self._tick(block_start), self._tick(block_end)
            for index, meters in enumerate(self.poles):
                samples = meters.samples(first, end)
                self.truths[index].add(samples, first, end)
                if samples is not None:
                    rng = np.random.default_rng([self.config.seed, index, first])
                    yield self._arrive(meters.pole, samples, rng)
            block_start = block_end

    def _tick(self, instant: datetime) -> int:
        ms = round(instant.timestamp() * 1000) - self.config.seq_origin_ms
        return ms // self.config.sample_interval_ms

    def _arrive(self, pole: Pole, samples: Samples, rng: np.random.Generator) -> Arrived:
        heard = samples.take(samples.fault != Fault.DROPPED)
        count = len(heard)
        held_us = heard.detail.astype(np.int64) * self.config.batch_interval_ms * 1000
        delay_us = np.full(count, round(NORMAL_DELAY_S * _US))
        delay_us += np.where(heard.fault == Fault.REORDERED, held_us, 0)
        late = rng.random(count) < self._lateness.reading_share
        late |= rng.random() < self._lateness.block_share
        longest_us = round(self._lateness.max_s * _US)
        delay_us += np.where(late, rng.integers(0, longest_us + 1, count), 0)
        ingest_us = heard.event_ms * 1000 + delay_us
        again = np.flatnonzero(heard.fault == Fault.DUPLICATED)
        copies_us = ingest_us[again] + held_us[again]
        rows = np.concatenate([np.arange(count), again])
        arrival_us = np.concatenate([ingest_us, copies_us])
        order = np.argsort(arrival_us, kind="stable")
        return Arrived(pole, heard.take(rows[order]), arrival_us[order])


def stored_table(arrived: Arrived) -> pa.Table:
    """`arrived` as rows of the lake (`ROW_SCHEMA`)."""
    batch = arrow_batch(arrived.samples, arrived.pole)
    count = batch.num_rows
    stamp = ROW_SCHEMA.field("ingest_ts").type
    ingest_ts = pa.array(arrived.ingest_us).view(stamp)
    columns = {name: batch.column(name) for name in batch.schema.names} | {
        "network_profile": pa.repeat(arrived.pole.network_profile, count),
        "gateway_id": pa.repeat(arrived.pole.gateway_id, count),
        "gateway_ingest_ts": batch.column("event_ts"),
        "batch_id": pa.repeat(f"{arrived.pole.gateway_id}-{arrived.samples.tick.min()}", count),
        "ingest_ts": ingest_ts,
        "event_date": pc.cast(batch.column("event_ts"), pa.date32()),
    }
    return pa.table([columns[f.name] for f in ROW_SCHEMA], schema=ROW_SCHEMA)


def land_rows(data: DataDir, segment: str, rows: pa.Table) -> None:
    """Land `rows` by hour of `event_ts`; the same segment written twice is one."""
    hour_of = pc.floor_temporal(rows.column("event_ts"), unit="hour")
    for hour in pc.unique(hour_of).to_pylist():
        land(data, floor_hour(hour), segment, rows.filter(pc.equal(hour_of, hour)))


def land_run(data: DataDir, run: FleetRun) -> int:
    """Land everything that `run` gives, and its registry; returns the rows landed, with copies."""
    landed = 0
    for number, arrived in enumerate(run.arrivals()):
        rows = stored_table(arrived)
        land_rows(data, f"block-{number:06d}", rows)
        landed += rows.num_rows
    write_registry(data.registry, registry_table(run.config))
    return landed


def compact_all(data: DataDir) -> int:
    """Compact every hour with something pending; returns the readings, without copies."""
    now = datetime.now(UTC)
    con = compaction_connection()
    try:
        return sum(
            compact_hour(data, hour.start, now=now, con=con).manifest.rows
            for hour in list(hours(data))
        )
    finally:
        con.close()


def repeat_hours(data: DataDir, count: int, samples_per_hour: int) -> None:
    """Append copies of the lake's compacted hours, in turn, until it has `count`.

    Copies are moved on in time and `seq`, so that `seq` counts on from hour to hour: as many
    readings as wanted cost little more than writing them.

    Args:
        data: a lake whose hours follow each other and are compacted.
        count: hours to end up with.
        samples_per_hour: of every meter; what `seq` rises by in an hour.
    """
    simulated = [(hour.start, hour.manifest) for hour in hours(data)]
    con = compaction_connection()
    con.execute("SET preserve_insertion_order = true")
    for number in range(len(simulated), count):
        start, manifest = simulated[number % len(simulated)]
        ahead = number - number % len(simulated)
        source, target = (data.readings / hour_folder(s) for s in (start, start + ahead * HOUR))
        target.mkdir(parents=True, exist_ok=True)
        name = manifest.readings[0]
        moved = ", ".join(
            f"{column} + INTERVAL {ahead} HOUR AS {column}"
            for column in ("event_ts", "gateway_ingest_ts", "ingest_ts")
        )
        con.execute(
            f"COPY (SELECT * REPLACE ({moved}, seq + {ahead * samples_per_hour} AS seq, "
            f"(event_ts + INTERVAL {ahead} HOUR)::DATE AS event_date) "
            f"FROM read_parquet({file_list([source / name])}, hive_partitioning = false)) "
            f"TO {text_literal(target / name)} (FORMAT parquet, COMPRESSION zstd)"
        )
        first, last = (
            (datetime.fromisoformat(text) + ahead * HOUR).isoformat()
            for text in (manifest.min_event_ts, manifest.max_event_ts)
        )
        written = replace(
            manifest, copies=[], merged=[], copy_rows=0, min_event_ts=first, max_event_ts=last
        )
        write_bytes(target / MANIFEST, json.dumps(asdict(written)).encode())
    con.close()
