"""Validate: reads decoded columns, gives the valid rows and a reason for every other one."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ami_contract.errors import ReadingRejected
from ami_contract.reading import (
    IDENTIFIER_PATTERN,
    MAX_EVENT_LEAD,
    OLDEST_EVENT_TS,
    READING_FIELDS,
    TIMESTAMP,
    ContentType,
    Field,
)
from beam_jobs.checks import Part, check_reading, parts_at
from beam_jobs.decode import content_type_of, read_arrow, refuse_reading
from beam_jobs.elements import (
    DECODED_SCHEMA,
    MESSAGE_COLUMN,
    ROW_COLUMN,
    Decoded,
    Message,
    Refusal,
    Validated,
)


def valid_rows(readings: pa.Table, *, now: datetime) -> pa.ChunkedArray:
    """Boolean per row of `DECODED_SCHEMA` columns: every field present, typed and in range.

    Args:
        readings: decoded columns.
        now: clock for the future limit.
    """
    valid: Any = None
    for field in READING_FIELDS:
        good = _good(field, readings[field.name], now)
        valid = good if valid is None else pc.and_(valid, good)
    return valid


def _good(field: Field, column: pa.ChunkedArray, now: datetime) -> Any:
    if pa.types.is_timestamp(field.type):
        good = pc.and_(
            pc.greater_equal(column, pa.scalar(OLDEST_EVENT_TS, TIMESTAMP)),
            pc.less_equal(column, pa.scalar(now + MAX_EVENT_LEAD, TIMESTAMP)),
        )
    elif pa.types.is_list(field.type):
        good = _no_null_inside(column)
    elif pa.types.is_string(field.type):
        names = pc.dictionary_encode(column).unify_dictionaries()
        good = pa.chunked_array(
            [
                pc.match_substring_regex(chunk.dictionary, IDENTIFIER_PATTERN).take(chunk.indices)
                for chunk in names.chunks
            ],
            pa.bool_(),
        )
    else:
        good = pc.is_valid(column)
        if field.minimum is not None:
            good = pc.and_(good, pc.greater_equal(column, pa.scalar(field.minimum, column.type)))
        if field.maximum is not None:
            good = pc.and_(good, pc.less_equal(column, pa.scalar(field.maximum, column.type)))
        if not field.required:
            good = pc.or_(pc.is_null(column), good)
    return pc.fill_null(good, not field.required)


def _no_null_inside(column: pa.ChunkedArray) -> Any:
    if not any(chunk.flatten().null_count for chunk in column.chunks):
        return pa.chunked_array([pa.repeat(True, len(column))])
    return pa.array([flags is None or None not in flags for flags in column.to_pylist()])


def validate(decoded: Decoded) -> Validated:
    """Split a batch's readings into valid rows and refusals.

    The columns decide; only the rows that fail are looked at one by one, for their reason.
    """
    now = decoded.batch.ingest_ts
    readings = decoded.readings
    refusals = list(decoded.refusals)
    if readings.num_rows:
        valid = valid_rows(readings, now=now)
        if not pc.all(valid).as_py():
            bad = readings.filter(pc.invert(valid))
            good_after_all, refused = _explain(bad, decoded.batch.messages, now)
            readings = pa.concat_tables([readings.filter(valid), good_after_all])
            refusals += refused
    return Validated(decoded.batch, readings, refusals, decoded.unknown_fields)


def _explain(
    bad: pa.Table, messages: list[Message], now: datetime
) -> tuple[pa.Table, list[Refusal]]:
    refusals: list[Refusal] = []
    rows: list[dict[str, Any]] = []
    places: dict[int, list[int]] = {}
    for index, row in zip(
        bad[MESSAGE_COLUMN].to_pylist(), bad[ROW_COLUMN].to_pylist(), strict=True
    ):
        places.setdefault(index, []).append(row)
    for index, bad_rows in places.items():
        for row, part in _parts(messages[index], bad_rows).items():
            try:
                if part.error:
                    raise part.error
                checked = check_reading(part.value, now=now)
            except ReadingRejected as error:
                refusals.append(refuse_reading(index, row, part, error))
            else:
                rows.append(checked | {MESSAGE_COLUMN: index, ROW_COLUMN: row})
    return pa.Table.from_pylist(rows, DECODED_SCHEMA), refusals


def _parts(message: Message, rows: list[int]) -> dict[int, Part]:
    content_type = content_type_of(message.attributes)
    if content_type is not ContentType.ARROW:
        return parts_at(content_type, message.data, rows)
    readings = _arrow_readings(message.data, rows)
    return {
        row: Part(_as_json(reading), reading) for row, reading in zip(rows, readings, strict=True)
    }


def _arrow_readings(data: bytes, rows: list[int]) -> list[dict[str, Any]]:
    """Contract fields of some rows of an Arrow payload, times as RFC 3339 text."""
    table = read_arrow(data)
    # Only then the rows: unknown columns may have types that Arrow cannot take rows of.
    table = table.select([f.name for f in READING_FIELDS if f.name in table.column_names])
    table = table.take(rows)
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            # Python's datetime knows neither nanoseconds nor years beyond 9999.
            utc = table.column(index).cast(pa.timestamp(field.type.unit, "UTC"))
            table = table.set_column(index, field.name, utc.cast(pa.string()))
    return table.to_pylist()


def _as_json(reading: dict[str, Any]) -> str:
    # Python's writer spells NaN and Infinity, which a strict one would hide as null.
    return json.dumps(reading, default=str)
