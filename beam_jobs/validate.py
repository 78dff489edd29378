"""Validate: reads decoded columns, gives the valid rows and a reason for every other one."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ami_contract.reading import (
    IDENTIFIER_PATTERN,
    MAX_EVENT_LEAD,
    OLDEST_EVENT_TS,
    READING_FIELDS,
    TIMESTAMP,
    ContentType,
    Field,
)
from beam_jobs.checks import Part
from beam_jobs.decode_arrow import read_arrow
from beam_jobs.decode_parts import content_type_of, judge_readings, parts_at
from beam_jobs.elements import (
    MESSAGE_COLUMN,
    ROW_COLUMN,
    Decoded,
    MessageBatch,
    Refusal,
    Validated,
)

MOST_LETTERS: Final = 1000
"""Refused readings of one payload that become a dead letter each."""


def valid_rows(readings: pa.Table, *, now: Any) -> pa.ChunkedArray:
    """Boolean per row of `DECODED_SCHEMA` columns: every field present, typed and in range.

    Args:
        readings: decoded columns.
        now: clock for the future limit; `TIMESTAMP`, one for all or one per row.
    """
    latest = pc.add(now, pa.scalar(MAX_EVENT_LEAD, pa.duration("us")))
    valid: Any = None
    for field in READING_FIELDS:
        good = _good(field, readings[field.name], latest)
        valid = good if valid is None else pc.and_(valid, good)
    return valid


def _good(field: Field, column: pa.ChunkedArray, latest: Any) -> Any:
    if pa.types.is_timestamp(field.type):
        good = pc.and_(
            pc.greater_equal(column, pa.scalar(OLDEST_EVENT_TS, TIMESTAMP)),
            pc.less_equal(column, latest),
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
    batch = decoded.batch
    readings = decoded.readings
    refusals = list(decoded.refusals)
    if readings.num_rows:
        valid = valid_rows(readings, now=_clock(batch, readings))
        if not pc.all(valid).as_py():
            bad = readings.filter(pc.invert(valid))
            good_after_all, refused = _explain(bad, batch)
            readings = pa.concat_tables([readings.filter(valid), *good_after_all])
            refusals += refused
    return Validated(batch, readings, gathered(refusals, batch), decoded.unknown_fields)


def _clock(batch: MessageBatch, readings: pa.Table) -> Any:
    if all(message.ingest_ts is None for message in batch.messages):
        return pa.scalar(batch.ingest_ts, TIMESTAMP)
    clocks = pa.array([batch.ingest_ts_of(message) for message in batch.messages], TIMESTAMP)
    return pc.take(clocks, readings[MESSAGE_COLUMN])


def _explain(bad: pa.Table, batch: MessageBatch) -> tuple[list[pa.Table], list[Refusal]]:
    places: dict[int, list[int]] = {}
    for index, row in zip(
        bad[MESSAGE_COLUMN].to_pylist(), bad[ROW_COLUMN].to_pylist(), strict=True
    ):
        places.setdefault(index, []).append(row)
    judged = [
        judge_readings(index, _parts(batch, index, rows), batch.ingest_ts_of(batch.messages[index]))
        for index, rows in places.items()
    ]
    good = [table for each in judged for table in each.readings]
    return good, [refusal for each in judged for refusal in each.refusals]


def gathered(refusals: list[Refusal], batch: MessageBatch) -> list[Refusal]:
    """Refusals of which the neighbours in one payload are one, where a payload has very many.

    Each refusal becomes a dead letter with its message's attributes, hundreds of bytes for a
    reading that may be a single digit.
    """
    counts = Counter(refusal.message for refusal in refusals)
    many = {message for message, count in counts.items() if count > MOST_LETTERS}
    if not many:
        return refusals
    kept = [refusal for refusal in refusals if refusal.message not in many]
    rows = sorted(
        (refusal for refusal in refusals if refusal.message in many),
        key=lambda refusal: (refusal.message, refusal.row),
    )
    # The index less the row is the same for neighbours.
    runs = groupby(enumerate(rows), key=lambda item: (item[1].message, item[0] - item[1].rows[0]))
    return kept + [_run([refusal for _, refusal in run], batch) for _, run in runs]


def _run(refusals: list[Refusal], batch: MessageBatch) -> Refusal:
    first = refusals[0]
    if len(refusals) == 1:
        return first
    texts = [refusal.payload for refusal in refusals]
    ndjson = content_type_of(batch.messages[first.message].attributes) is ContentType.NDJSON
    codes = Counter(refusal.code for refusal in refusals)
    poles = {refusal.pole_id for refusal in refusals}
    return Refusal(
        first.message,
        first.row,
        codes.most_common(1)[0][0],
        first.field if len({refusal.field for refusal in refusals}) == 1 else None,
        f"{len(refusals)} readings in a row: "
        + ", ".join(f"{count} {code}" for code, count in codes.most_common())
        + f"; the first: {first.detail}",
        b"\n".join(texts) if ndjson else b"[" + b",".join(texts) + b"]",
        pole_id=first.pole_id if len(poles) == 1 else None,
        readings=len(refusals),
    )


def _parts(batch: MessageBatch, index: int, rows: list[int]) -> dict[int, Part]:
    message = batch.messages[index]
    if content_type_of(message.attributes) is not ContentType.ARROW:
        return parts_at(batch, index, rows)
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
