"""Enrich: reads valid readings and their messages' attributes, gives the rows to store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ami_contract.reading import FLAGS, ROW_SCHEMA, TIMESTAMP, Attribute
from beam_jobs.elements import ENRICHED_SCHEMA, MESSAGE_COLUMN, Enriched, MessageBatch, Validated
from beam_jobs.timestamps import parse_timestamps


def enrich(validated: Validated) -> Enriched:
    """Rows of `ENRICHED_SCHEMA`: readings with their message's attributes and the ingest's clock.

    `batch_id` falls back to the message id; an unreadable `gateway_ingest_ts` is null.
    """
    readings, batch = validated.readings, validated.batch
    index = readings[MESSAGE_COLUMN].combine_chunks()
    attributes = _attribute_columns(batch)
    columns: dict[str, Any] = {
        name: readings[name] for name in readings.column_names if name in ROW_SCHEMA.names
    }
    columns["quality_flags"] = _never_null(columns["quality_flags"])
    columns |= {name: _spread(values, index) for name, values in attributes.items()}
    columns["event_date"] = (
        readings["event_ts"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    )
    rows = pa.table([columns[name] for name in ROW_SCHEMA.names], schema=ENRICHED_SCHEMA)
    return Enriched(batch, rows, validated.refusals, validated.unknown_fields)


def _spread(values: pa.Array, index: pa.Array) -> pa.Array:
    """The value of each reading's message; texts stay one per message."""
    if not pa.types.is_string(values.type):
        return pc.take(values, index)
    encoded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.take(index), encoded.dictionary)


def _never_null(flags: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists with empty ones for nulls; `fill_null` is an order of magnitude slower on lists."""
    if not flags.null_count:
        return flags
    lengths = pc.fill_null(pc.list_value_length(flags), 0).combine_chunks().to_numpy()
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    values = pc.list_flatten(flags).combine_chunks()
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets), values)], FLAGS)


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


def latencies_ms(readings: pa.Table, rows: pa.Table) -> dict[str, list[int]]:
    """How old readings were when they were stored, in ms, one value per message.

    `latency_event_ms` counts from the oldest `event_ts` of a message, `latency_gateway_ms` from its
    `gateway_ingest_ts`, where it has one.

    Args:
        readings: validated readings.
        rows: the rows made of them, in the same order.
    """
    if not rows.num_rows:
        return {}
    ages = pa.table(
        {
            "message": readings[MESSAGE_COLUMN],
            "event": _age_ms(rows, "event_ts"),
            "gateway": _age_ms(rows, "gateway_ingest_ts"),
        }
    )
    oldest = ages.group_by("message").aggregate([("event", "max"), ("gateway", "max")])
    return {
        "latency_event_ms": oldest["event_max"].to_pylist(),
        "latency_gateway_ms": oldest["gateway_max"].drop_null().to_pylist(),
    }


def _age_ms(rows: pa.Table, since: str) -> pa.ChunkedArray:
    microseconds = pc.subtract(rows["ingest_ts"], rows[since]).cast(pa.int64())
    return pc.divide(microseconds, 1000)
