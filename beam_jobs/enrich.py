"""Enrich: reads valid readings and their messages' attributes, gives the rows to store."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ami_contract.reading import FLAGS, ROW_SCHEMA, TIMESTAMP, Attribute
from beam_jobs.elements import MESSAGE_COLUMN, Enriched, MessageBatch, Validated
from beam_jobs.timestamps import parse_timestamps


def enrich(validated: Validated) -> Enriched:
    """Rows of `ROW_SCHEMA`: the readings with their message's attributes and the ingest's clock.

    `batch_id` falls back to the message id; an unreadable `gateway_ingest_ts` is null.
    """
    readings, batch = validated.readings, validated.batch
    index = readings[MESSAGE_COLUMN]
    attributes = _attribute_columns(batch)
    columns: dict[str, Any] = {
        name: readings[name] for name in readings.column_names if name in ROW_SCHEMA.names
    }
    columns["quality_flags"] = _never_null(columns["quality_flags"])
    columns |= {name: pc.take(values, index) for name, values in attributes.items()}
    columns["event_date"] = (
        readings["event_ts"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    )
    rows = pa.table([columns[name] for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)
    return Enriched(batch, rows, validated.refusals, validated.unknown_fields)


def _never_null(flags: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(flags, pa.scalar([], FLAGS)) if flags.null_count else flags


def _attribute_columns(batch: MessageBatch) -> dict[str, pa.Array]:
    messages = batch.messages

    def values(attribute: Attribute) -> pa.Array:
        return pa.array([m.attributes.get(attribute) for m in messages], pa.string())

    batch_ids = [m.attributes.get(Attribute.BATCH_ID) or m.message_id for m in messages]
    return {
        "network_profile": values(Attribute.NETWORK_PROFILE),
        "gateway_id": values(Attribute.GATEWAY_ID),
        "gateway_ingest_ts": parse_timestamps(values(Attribute.GATEWAY_INGEST_TS)),
        "batch_id": pa.array(batch_ids, pa.string()),
        "ingest_ts": pa.array([batch.ingest_ts_of(m) for m in messages], TIMESTAMP),
    }
