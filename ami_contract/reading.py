"""The reading: its fields with type, unit and valid range, from which every other form is derived.

Gives `READING_FIELDS` (on the wire), `ROW_FIELDS` (as stored, one row per reading and copy) and
their Arrow schemas `WIRE_SCHEMA` and `ROW_SCHEMA`. Times are UTC microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

import pyarrow as pa

Origin = Literal["wire", "attribute", "ingest"]

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
FLAGS: Final = pa.list_(pa.string())

IDENTIFIER_PATTERN: Final = r"^[A-Za-z0-9_.:-]{1,128}$"
OLDEST_EVENT_TS: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_EVENT_LEAD: Final = timedelta(minutes=5)
# The largest integer that every JSON reader keeps exact (RFC 7493).
MAX_SEQ: Final = 2**53 - 1
SCHEMA_VERSION: Final = "1"

KNOWN_QUALITY_FLAGS: Final = (
    "estimated",
    "missing_sample",
    "clock_reset",
    "last_gasp",
    "power_restored",
    "tamper",
)
NETWORK_PROFILES: Final = ("wired", "5g", "lte_m", "sat")


class ContentType(StrEnum):
    """What a Pub/Sub message may carry, as its `content_type` attribute says."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    ARROW = "application/vnd.apache.arrow.stream"


class ContentEncoding(StrEnum):
    """How a payload may be compressed as a whole, as its `content_encoding` attribute says."""

    GZIP = "gzip"
    ZSTD = "zstd"


class Attribute(StrEnum):
    """Message attributes that the gateway sets; the last two are those of an imported file."""

    SCHEMA_VERSION = "schema_version"
    CONTENT_TYPE = "content_type"
    CONTENT_ENCODING = "content_encoding"
    BATCH_ID = "batch_id"
    GATEWAY_ID = "gateway_id"
    POLE_ID = "pole_id"
    METER_ID = "meter_id"
    NETWORK_PROFILE = "network_profile"
    GATEWAY_INGEST_TS = "gateway_ingest_ts"
    SOURCE_FILE = "source_file"
    FIRST_ROW = "first_row"


@dataclass(frozen=True)
class Field:
    """One field of a reading.

    Attributes:
        name: as on the wire and in every table.
        type: Arrow type as stored.
        unit: physical unit, or "" where there is none.
        required: whether a reading without it is refused.
        description: one sentence; also the column's description in every warehouse.
        minimum, maximum: inclusive valid range, None where it does not apply.
        origin: `wire` (payload), `attribute` (message attribute) or `ingest` (set by the ingest).
    """

    name: str
    type: pa.DataType
    unit: str
    required: bool
    description: str
    minimum: float | None = None
    maximum: float | None = None
    origin: Origin = "wire"


READING_FIELDS: Final[tuple[Field, ...]] = (
    Field(
        "event_ts",
        TIMESTAMP,
        "UTC",
        True,
        "Start of the sample; the reading covers [event_ts, event_ts + sample interval).",
    ),
    Field("meter_id", pa.string(), "", True, "Meter that measured."),
    Field("pole_id", pa.string(), "", True, "Pole (gateway site) the meter hangs on."),
    Field("seq", pa.int64(), "", True, "Sample counter of the meter, + 1 per sample.", 0, MAX_SEQ),
    Field("voltage_v", pa.float64(), "V", True, "RMS voltage.", 0, 1000),
    Field("current_a", pa.float64(), "A", True, "RMS current.", 0, 10_000),
    Field(
        "power_kw", pa.float64(), "kW", True, "Active power; negative is export.", -10_000, 10_000
    ),
    Field("reactive_kvar", pa.float64(), "kvar", False, "Reactive power.", -10_000, 10_000),
    Field("freq_hz", pa.float64(), "Hz", False, "Frequency.", 40, 70),
    Field(
        "quality_flags",
        FLAGS,
        "",
        False,
        "Marks set by the meter; known: " + ", ".join(KNOWN_QUALITY_FLAGS) + ".",
    ),
)

ROW_FIELDS: Final[tuple[Field, ...]] = (
    *READING_FIELDS,
    Field(
        "network_profile",
        pa.string(),
        "",
        False,
        "Backhaul of the gateway: " + ", ".join(NETWORK_PROFILES) + ".",
        origin="attribute",
    ),
    Field("gateway_id", pa.string(), "", False, "Gateway that sent it.", origin="attribute"),
    Field(
        "gateway_ingest_ts",
        TIMESTAMP,
        "UTC",
        False,
        "When the gateway took the reading in.",
        origin="attribute",
    ),
    Field("batch_id", pa.string(), "", True, "Gateway batch it came in.", origin="attribute"),
    Field("ingest_ts", TIMESTAMP, "UTC", True, "When the ingest stored it.", origin="ingest"),
    Field("event_date", pa.date32(), "UTC day", True, "Day of event_ts.", origin="ingest"),
)

REQUIRED_FIELDS: Final = tuple(f.name for f in READING_FIELDS if f.required)
FIELD_BY_NAME: Final = {f.name: f for f in ROW_FIELDS}


def arrow_schema(fields: tuple[Field, ...]) -> pa.Schema:
    """Arrow schema of `fields`, in their order; unit and description ride as field metadata."""
    return pa.schema(
        [
            pa.field(
                f.name,
                f.type,
                nullable=not f.required,
                metadata={"unit": f.unit, "description": f.description},
            )
            for f in fields
        ]
    )


WIRE_SCHEMA: Final = arrow_schema(READING_FIELDS)
ROW_SCHEMA: Final = arrow_schema(ROW_FIELDS)
