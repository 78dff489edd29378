"""Reads a configuration; gives the fleet (feeders → poles → transformers → meters), its registry.

Names and places follow from the configuration alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.registry import read_registry
from simulator.config import FleetConfig, SimulationConfig

STANDARD_KVA: Final = (10.0, 15.0, 25.0, 37.5, 50.0, 75.0, 100.0, 167.0, 250.0, 333.0, 500.0)
"""Single-phase distribution transformer sizes (kVA), ANSI C57.12."""

KVA_PER_METER: Final = 4.0
"""Diversified demand that a transformer is sized for (kVA per household); an assumption."""


@dataclass(frozen=True)
class Meter:
    """A meter and the transformer that feeds it."""

    meter_id: str
    transformer_id: str


@dataclass(frozen=True)
class Pole:
    """A pole: gateway site with transformers and meters.

    Attributes:
        rated_kva: rated power of each transformer on it (kVA).
        transformers: number of transformers on it.
        latitude, longitude: WGS 84 (degree).
    """

    pole_id: str
    feeder_id: str
    gateway_id: str
    network_profile: str
    rated_kva: float
    transformers: int
    latitude: float
    longitude: float
    meters: tuple[Meter, ...]


@dataclass(frozen=True)
class Fleet:
    """All poles, ordered by feeder and name."""

    poles: tuple[Pole, ...]

    @property
    def meter_count(self) -> int:
        """Meters of all poles."""
        return sum(len(pole.meters) for pole in self.poles)


def rated_kva(meters: int) -> float:
    """Standard transformer size for `meters` households (kVA)."""
    need = meters * KVA_PER_METER
    return next((size for size in STANDARD_KVA if size >= need), need)


def build_fleet(config: SimulationConfig) -> Fleet:
    """Fleet that `config` describes."""
    if config.registry is not None:
        return _registered_fleet(config)
    if config.fleet is None:
        shape = FleetConfig(meters_per_pole=config.num_meters or 5)
    else:
        shape = config.fleet
    prefix = shape.id_prefix
    poles = []
    for index in range(shape.poles):
        feeder_index = index * shape.feeders // shape.poles
        pole_id = config.pole_id or f"{prefix}pole-{index + 1:04d}"
        per_transformer = -(-shape.meters_per_pole // shape.transformers_per_pole)
        stem = config.pole_id or f"{prefix}{index + 1:04d}"
        meters = tuple(
            Meter(
                meter_id=f"{stem}-m{m + 1:03d}"
                if config.pole_id
                else f"{prefix}meter-{index + 1:04d}-{m + 1:03d}",
                transformer_id=f"{pole_id}-t{m // per_transformer + 1}",
            )
            for m in range(shape.meters_per_pole)
        )
        poles.append(
            Pole(
                pole_id=pole_id,
                feeder_id=f"{prefix}feeder-{feeder_index + 1:02d}",
                gateway_id=f"gw-{pole_id}"[:128],
                network_profile=config.network_profile[index % len(config.network_profile)],
                rated_kva=shape.rated_kva or rated_kva(per_transformer),
                transformers=shape.transformers_per_pole,
                latitude=round(shape.latitude + 0.0004 * (index % 50), 6),
                longitude=round(shape.longitude + 0.005 * (index // 50), 6),
                meters=meters,
            )
        )
    return Fleet(tuple(poles))


def registered_meters(config: SimulationConfig) -> list[dict[str, Any]]:
    """Rows of the registry that `config` names: of each meter in service the newest, by meter.

    Raises:
        LakeError: the file does not hold a registry.
        OSError: it cannot be read.
    """
    assert config.registry is not None
    path = Path(config.registry)
    path.stat()
    newest: dict[str, dict[str, Any]] = {}
    rows = read_registry(path).to_pylist()
    for row in sorted(rows, key=lambda row: (row["meter_id"], row["valid_from"])):
        if row["valid_to"] is None:
            newest[row["meter_id"]] = row
    return list(newest.values())


def _registered_fleet(config: SimulationConfig) -> Fleet:
    by_pole: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in registered_meters(config):
        by_pole.setdefault((row["feeder_id"] or "feeder-01", row["pole_id"]), []).append(row)
    poles = []
    for index, ((feeder_id, pole_id), rows) in enumerate(sorted(by_pole.items())):
        meters = tuple(
            Meter(row["meter_id"], row["transformer_id"] or f"{pole_id}-t1") for row in rows
        )
        transformers = len({meter.transformer_id for meter in meters})
        ratings = [row["rated_kva"] for row in rows if row["rated_kva"]]
        poles.append(
            Pole(
                pole_id=pole_id,
                feeder_id=feeder_id,
                gateway_id=f"gw-{pole_id}"[:128],
                network_profile=config.network_profile[index % len(config.network_profile)],
                rated_kva=sum(ratings) / len(ratings)
                if ratings
                else rated_kva(-(-len(meters) // transformers)),
                transformers=transformers,
                latitude=_first(rows, "latitude", FleetConfig().latitude),
                longitude=_first(rows, "longitude", FleetConfig().longitude),
                meters=meters,
            )
        )
    return Fleet(tuple(poles))


def _first(rows: list[dict[str, Any]], name: str, otherwise: float) -> float:
    return next((row[name] for row in rows if row[name] is not None), otherwise)


def registry_table(config: SimulationConfig, valid_from: datetime | None = None) -> pa.Table:
    """Registry of the fleet, one row per meter, as `REGISTRY_SCHEMA`.

    Args:
        config: the simulation.
        valid_from: start of service of all meters (UTC); None: `seq_origin`.
    """
    since = valid_from or config.seq_origin
    rows = [
        {
            "meter_id": meter.meter_id,
            "pole_id": pole.pole_id,
            "transformer_id": meter.transformer_id,
            "feeder_id": pole.feeder_id,
            "nominal_voltage_v": float(config.voltage_nominal),
            "sample_interval_ms": config.sample_interval_ms,
            "rated_kva": pole.rated_kva,
            "latitude": pole.latitude,
            "longitude": pole.longitude,
            "time_zone": config.time_zone,
            "valid_from": since,
            "valid_to": None,
        }
        for pole in build_fleet(config).poles
        for meter in pole.meters
    ]
    return pa.Table.from_pylist(rows, schema=REGISTRY_SCHEMA)
