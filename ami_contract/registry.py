"""The registry of the fleet: one row per meter and period of service, as users edit it.

Gives `REGISTRY_FIELDS` and the Arrow schema `REGISTRY_SCHEMA` of `registry/meters.csv`.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ami_contract.reading import TIMESTAMP, Field, arrow_schema

REGISTRY_FIELDS: Final[tuple[Field, ...]] = (
    Field("meter_id", pa.string(), "", True, "Meter."),
    Field("pole_id", pa.string(), "", True, "Pole the meter hangs on."),
    Field("transformer_id", pa.string(), "", False, "Transformer that feeds it."),
    Field("feeder_id", pa.string(), "", False, "Feeder the transformer hangs on."),
    Field("nominal_voltage_v", pa.float64(), "V", True, "Nominal voltage.", 1, 1000),
    Field(
        "sample_interval_ms",
        pa.int64(),
        "ms",
        False,
        "Time between two samples; empty: derived from the readings.",
        1,
        86_400_000,
    ),
    Field("rated_kva", pa.float64(), "kVA", False, "Rated power of the transformer.", 0, 1_000_000),
    Field("latitude", pa.float64(), "degree", False, "WGS 84 latitude.", -90, 90),
    Field("longitude", pa.float64(), "degree", False, "WGS 84 longitude.", -180, 180),
    Field("time_zone", pa.string(), "", False, "IANA time zone of the site."),
    Field("valid_from", TIMESTAMP, "UTC", True, "Start of service, inclusive."),
    Field("valid_to", TIMESTAMP, "UTC", False, "End of service, exclusive; empty: in service."),
)

REGISTRY_SCHEMA: Final = arrow_schema(REGISTRY_FIELDS)
