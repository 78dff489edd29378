"""Reads the measured sizes and rates (YAML) and the contract; gives bytes per message and row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from ami_contract.reading import ROW_FIELDS, Field

MEASURED: Final = Path(__file__).with_name("measured.yaml")


class Encoding(StrEnum):
    """What gateways send."""

    SINGLE = "single"
    BATCH = "batch"
    ARROW = "arrow"


class WriteMethod(StrEnum):
    """How rows get into BigQuery."""

    STORAGE_WRITE_API = "storage_write_api"
    STREAMING_INSERTS = "streaming_inserts"
    FILE_LOADS = "file_loads"


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of a message by the readings in it.

    Attributes:
        pubsub: as Pub/Sub counts it: payload, attributes, publish time and message id.
        archive: what the raw archive keeps of it.
    """

    pubsub: Mapping[int, float]
    archive: Mapping[int, float]


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of the platform itself.

    Attributes:
        sizes: by encoding.
        ingest_per_core: readings per second and core of the ingest without BigQuery, by encoding.
        rows_per_core: rows per second and core that Python makes ready for BigQuery, by method.
    """

    sizes: Mapping[Encoding, Sizes]
    ingest_per_core: Mapping[Encoding, float]
    rows_per_core: Mapping[WriteMethod, float]

    def dataflow_per_core(self, encoding: Encoding, method: WriteMethod) -> float:
        """Readings per second that a busy core of Dataflow ingests: one work after the other."""
        return 1 / (1 / self.ingest_per_core[encoding] + 1 / self.rows_per_core[method])


def load_measured(path: Path = MEASURED) -> Measured:
    """What was measured, from its file; `python -m ami_cli.cost_measure` writes it."""
    return msgspec.yaml.decode(path.read_bytes(), type=Measured)


def message_bytes(sizes: Mapping[int, float], readings: float) -> float:
    """Bytes of a message of so many readings: linear between and beyond the measured ones."""
    if len(sizes) == 1:
        ((measured, size),) = sizes.items()
        return size * readings / measured
    known = sorted(sizes)
    upper = min(max(bisect_right(known, readings), 1), len(known) - 1)
    low, high = known[upper - 1], known[upper]
    slope = (sizes[high] - sizes[low]) / (high - low)
    return sizes[low] + slope * (readings - low)


TEXT_LENGTHS: Final[Mapping[str, int]] = {
    "meter_id": 14,
    "pole_id": 9,
    "gateway_id": 12,
    "batch_id": 30,
    "network_profile": 5,
}
"""Characters of a row's texts as simulated fleets write them, rounded up."""


def row_bytes(fields: tuple[Field, ...] = ROW_FIELDS) -> int:
    """Logical bytes of a row of `raw_meter_readings` as BigQuery bills them, without flags.

    8 per number, time and date; a text its length and 2; an empty array 0. Source:
    https://cloud.google.com/bigquery/pricing#data
    """
    return sum(_width(field) for field in fields)


def _width(field: Field) -> int:
    if pa.types.is_string(field.type):
        return 2 + TEXT_LENGTHS[field.name]
    return 0 if pa.types.is_list(field.type) else 8
