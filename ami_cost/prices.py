"""Reads a table of unit prices (YAML); gives prices by name and the cost of a quantity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import msgspec

from ami_contract.errors import SettingsError

PRICES: Final = Path(__file__).with_name("prices.yaml")
Name = Literal[
    "pubsub_throughput",
    "dataflow_vcpu",
    "dataflow_memory",
    "dataflow_disk",
    "dataflow_streaming_engine",
    "storage_standard",
    "storage_nearline",
    "storage_write_operation",
    "storage_move_to_nearline",
    "bigquery_write_api",
    "bigquery_streaming_inserts",
    "bigquery_storage_active",
    "bigquery_storage_long_term",
    "bigquery_on_demand",
    "bigquery_slot",
    "run_service_vcpu",
    "run_service_memory",
    "run_requests",
    "run_job_vcpu",
    "run_job_memory",
    "machine_e2_standard_2",
    "disk_balanced",
]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit price.

    Attributes:
        usd: price of one unit beyond the free ones (USD).
        unit: what is counted.
        source: page that lists it.
        checked: day on which it was last read, or noted where nothing was read.
        evidence: how it was checked, see the head of `prices.yaml`.
        free: units of a month that cost nothing.
    """

    usd: NotNegative
    unit: str
    source: str
    checked: date
    evidence: Literal["page", "transcription", "none"]
    free: NotNegative = 0.0

    def cost_usd(self, quantity: float, months: float = 1.0) -> float:
        """Cost of `quantity` units used in `months` (USD); a part of a month has all free units."""
        return max(0.0, quantity - self.free * max(1.0, months)) * self.usd


Prices = Mapping[Name, Price]


def load_prices(path: Path = PRICES) -> Prices:
    """Prices of a table; every name of `Name` and no other.

    Raises:
        SettingsError: the file cannot be read, lacks a price, or says something else.
    """
    try:
        found = msgspec.yaml.decode(path.read_bytes(), type=dict[Name, Price])
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f"{path} is no table of prices: {error}; see {PRICES}") from error
    if missing := sorted(set(get_args(Name)) - set(found)):
        raise SettingsError(f"{path} lacks the price of {', '.join(missing)}; see {PRICES}")
    return found
