"""The elements that travel through the ingest graph: reads nothing, gives plain value types.

Beam weighs some of the elements that pass between two steps. The coder registered here answers
from sizes at hand; Beam's own would pickle whole batches for it.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa

from ami_contract.errors import RejectionCode
from ami_contract.reading import FIELD_BY_NAME, ROW_SCHEMA, WIRE_SCHEMA


class Message(NamedTuple):
    """One Pub/Sub message as it was pulled.

    Attributes:
        message_id: given by Pub/Sub, the same on every redelivery.
        publish_time: UTC.
        attributes: as the gateway set them.
        data: the payload.
        ingest_ts: when it was stored first, where it comes from archive or dead letter; else None.
        first_row: row its first reading had in the message as it arrived, where it is part of one.
    """

    message_id: str
    publish_time: datetime
    attributes: dict[str, str]
    data: bytes
    ingest_ts: datetime | None = None
    first_row: int = 0


@dataclass(frozen=True)
class MessageBatch:
    """Messages that are handled together.

    Attributes:
        segment: names the files they become; of `[A-Za-z0-9_-]`.
        ingest_ts: the batch's one clock reading, UTC: `ingest_ts` and the clock of the checks of
            all its messages that do not bring their own.
        messages: in order of arrival.
        texts: what the text messages that had to be split were split into, by index.
    """

    segment: str
    ingest_ts: datetime
    messages: list[Message]
    texts: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def ingest_ts_of(self, message: Message) -> datetime:
        """`ingest_ts` that the readings of `message` get; also the clock they are checked by."""
        return message.ingest_ts or self.ingest_ts

    @property
    def payload_bytes(self) -> int:
        """Size of all payloads."""
        return sum(len(message.data) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reading, several neighbours, or a whole payload, that must not be stored.

    Attributes:
        message: index of its message in the batch.
        row: index of the (first) reading in its payload; None: the whole payload.
        code: why.
        field: the offending field, where there is one.
        detail: one sentence with the value found and what is allowed.
        payload: original bytes of the reading or payload.
        meter_id, pole_id: as far as they could be read, for the ledger.
        seq: likewise.
        readings: how many it stands for; None: a payload that could not be read.
    """

    message: int
    row: int | None
    code: RejectionCode
    field: str | None
    detail: str
    payload: bytes
    meter_id: str | None = None
    pole_id: str | None = None
    seq: int | None = None
    readings: int | None = None

    @property
    def rows(self) -> range:
        """Indexes of the readings in their payload; empty for a whole payload."""
        return range(0) if self.row is None else range(self.row, self.row + (self.readings or 1))


MESSAGE_COLUMN = "message"
ROW_COLUMN = "row"

DECODED_SCHEMA: pa.Schema = pa.schema(
    [
        *(pa.field(f.name, f.type) for f in WIRE_SCHEMA),
        pa.field(MESSAGE_COLUMN, pa.int32()),
        pa.field(ROW_COLUMN, pa.int32()),
    ]
)
"""Readings with the place they came from; event_ts is null where its text could not be read."""


@dataclass(frozen=True)
class Decoded:
    """What a batch's payloads held.

    Attributes:
        batch: the messages.
        readings: `DECODED_SCHEMA`, one row per reading, valid or not.
        refusals: payloads that could not be decoded.
        unknown_fields: fields of readings that the contract does not know; they are left out.
    """

    batch: MessageBatch
    readings: pa.Table
    refusals: list[Refusal] = field(default_factory=list)
    unknown_fields: int = 0


@dataclass(frozen=True)
class Validated:
    """A batch after validation.

    Attributes:
        batch: the messages.
        readings: `DECODED_SCHEMA`, the valid rows only.
        refusals: all refused payloads and readings.
        unknown_fields: as in `Decoded`.
    """

    batch: MessageBatch
    readings: pa.Table
    refusals: list[Refusal]
    unknown_fields: int


ENRICHED_SCHEMA: pa.Schema = pa.schema(
    [
        f.with_type(pa.dictionary(pa.int32(), f.type))
        if FIELD_BY_NAME[f.name].origin == "attribute" and pa.types.is_string(f.type)
        else f
        for f in ROW_SCHEMA
    ]
)
"""`ROW_SCHEMA` with the texts that a whole message shares kept once per message."""


@dataclass(frozen=True)
class Enriched:
    """A batch ready for the sinks.

    Attributes:
        batch: the messages.
        rows: `ENRICHED_SCHEMA`.
        refusals: all refused payloads and readings.
        unknown_fields: as in `Decoded`.
    """

    batch: MessageBatch
    rows: pa.Table
    refusals: list[Refusal]
    unknown_fields: int


Element = MessageBatch | Decoded | Validated | Enriched


class ElementCoder(beam.coders.Coder):
    """Pickles an element where Beam must move it; weighs it without."""

    def encode(self, value: Element) -> bytes:
        """Bytes of an element."""
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        """Element of bytes that this coder's `encode` made."""
        return pickle.loads(encoded)  # noqa: S301 (of this job's own workers)

    def estimate_size(self, value: Element) -> int:
        """Roughly the bytes of an element: its payloads and columns."""
        if isinstance(value, MessageBatch):
            return value.payload_bytes
        table = value.rows if isinstance(value, Enriched) else value.readings
        return value.batch.payload_bytes + table.get_total_buffer_size()

    def is_deterministic(self) -> bool:
        """False: it codes values, not keys."""
        return False


for _type in (MessageBatch, Decoded, Validated, Enriched):
    beam.coders.registry.register_coder(_type, ElementCoder)
