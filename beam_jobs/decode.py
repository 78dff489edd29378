"""Decode: reads message payloads, gives their readings as columns and refuses what is undecodable.

All JSON payloads of a batch are parsed in one pass of Arrow's JSON reader. Where that fails the
batch is halved until the payload at fault stands alone; only that one is read reading by reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.json

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import (
    READING_FIELDS,
    TIMESTAMP,
    WIRE_SCHEMA,
    Attribute,
    ContentType,
)
from beam_jobs.checks import Part, check_reading, decode_text, split_json, split_ndjson
from beam_jobs.elements import (
    DECODED_SCHEMA,
    MESSAGE_COLUMN,
    ROW_COLUMN,
    Decoded,
    MessageBatch,
    Refusal,
)
from beam_jobs.timestamps import parse_timestamps

_NAMES: Final = tuple(f.name for f in READING_FIELDS)
_KNOWN: Final = frozenset(_NAMES)
_JSON_TYPE: Final = pa.struct(
    [(f.name, pa.string() if pa.types.is_timestamp(f.type) else f.type) for f in READING_FIELDS]
)
_PARSE: Final = pyarrow.json.ParseOptions(
    explicit_schema=pa.schema([("r", pa.list_(_JSON_TYPE))]),
    # Inferring unknown fields recurses and a deeply nested one ends the process.
    unexpected_field_behavior="ignore",
)
_LEAST_BLOCK_BYTES: Final = 4 * 1024 * 1024

SPLITTERS: Final[dict[ContentType, Callable[[bytes], list[Part]]]] = {
    ContentType.JSON: split_json,
    ContentType.NDJSON: split_ndjson,
}


class _Payload(NamedTuple):
    message: int
    content_type: ContentType
    data: bytes
    line: bytes
    readings: int | None


class _Partial(NamedTuple):
    readings: list[pa.Table]
    refusals: list[Refusal]
    unknown_fields: int


_NOTHING: Final = _Partial([], [], 0)


def content_type_of(attributes: dict[str, str]) -> ContentType:
    """Content type a message claims; JSON when it says nothing.

    Raises:
        ReadingRejected: it is none that the platform reads.
    """
    claimed = attributes.get(Attribute.CONTENT_TYPE, ContentType.JSON)
    try:
        return ContentType(claimed)
    except ValueError as error:
        raise ReadingRejected(
            RejectionCode.UNKNOWN_CONTENT_TYPE,
            None,
            f"content_type {claimed!r} is none of {', '.join(ContentType)}",
        ) from error


def decode(batch: MessageBatch, *, max_payload_bytes: int) -> Decoded:
    """Readings of all payloads of a batch.

    Args:
        batch: the messages.
        max_payload_bytes: a larger payload is refused unread.

    Returns:
        One row per decodable reading (its values not yet checked), refusals for the rest.
    """
    refusals: list[Refusal] = []
    texts: list[_Payload] = []
    parts: list[_Partial] = []
    for index, message in enumerate(batch.messages):
        try:
            _check_size(message.data, max_payload_bytes)
            content_type = content_type_of(message.attributes)
            if content_type is ContentType.ARROW:
                parts.append(_decode_arrow(index, message.data))
            else:
                texts.append(_wrapped(index, content_type, message.data))
        except ReadingRejected as error:
            refusals.append(refuse_payload(index, message.data, error))
    fast = [payload for payload in texts if payload.line]
    parts.append(_decode_together(fast, batch))
    parts += [_decode_singly(payload, batch) for payload in texts if not payload.line]
    tables = [table for part in parts for table in part.readings]
    return Decoded(
        batch,
        pa.concat_tables(tables) if tables else DECODED_SCHEMA.empty_table(),
        refusals + [refusal for part in parts for refusal in part.refusals],
        sum(part.unknown_fields for part in parts),
    )


def refuse_payload(index: int, data: bytes, error: ReadingRejected) -> Refusal:
    """Refusal of a whole payload."""
    return Refusal(index, None, error.code, error.field, error.detail, data)


def refuse_reading(index: int, row: int, part: Part, error: ReadingRejected) -> Refusal:
    """Refusal of one reading, with the identifiers that can be read from it."""
    value = part.value if isinstance(part.value, dict) else {}
    meter_id, pole_id, seq = value.get("meter_id"), value.get("pole_id"), value.get("seq")
    return Refusal(
        index,
        row,
        error.code,
        error.field,
        error.detail,
        part.text.encode(),
        meter_id if isinstance(meter_id, str) else None,
        pole_id if isinstance(pole_id, str) else None,
        seq if isinstance(seq, int) and not isinstance(seq, bool) else None,
    )


def _check_size(data: bytes, max_payload_bytes: int) -> None:
    if not data.strip():
        raise ReadingRejected(RejectionCode.EMPTY_PAYLOAD, None, "the payload is empty")
    if len(data) > max_payload_bytes:
        raise ReadingRejected(
            RejectionCode.PAYLOAD_TOO_LARGE,
            None,
            f"{len(data)} bytes; at most {max_payload_bytes} (AMI_MAX_PAYLOAD_BYTES)",
        )


def _wrapped(index: int, content_type: ContentType, data: bytes) -> _Payload:
    """A payload as one line `{"r":[…]}` for the common parse; an empty line when it needs care."""
    if not data.isascii():
        decode_text(data)
    stripped = data.strip()
    if content_type is ContentType.NDJSON:
        lines = [line for line in stripped.split(b"\n") if line.strip()]
        line = b'{"r":[' + b",".join(lines) + b"]}"
        return _Payload(index, content_type, data, b"" if b"\r" in line else line, len(lines))
    if b"\n" in stripped or b"\r" in stripped:
        return _Payload(index, content_type, data, b"", None)
    if stripped.startswith(b"["):
        return _Payload(index, content_type, data, b'{"r":' + stripped + b"}", None)
    return _Payload(index, content_type, data, b'{"r":[' + stripped + b"]}", 1)


def _decode_together(payloads: Sequence[_Payload], batch: MessageBatch) -> _Partial:
    if not payloads:
        return _NOTHING
    try:
        return _parse(payloads)
    except (pa.ArrowInvalid, ValueError):
        if len(payloads) == 1:
            return _decode_singly(payloads[0], batch)
    middle = len(payloads) // 2
    left = _decode_together(payloads[:middle], batch)
    right = _decode_together(payloads[middle:], batch)
    return _Partial(
        left.readings + right.readings,
        left.refusals + right.refusals,
        left.unknown_fields + right.unknown_fields,
    )


def _parse(payloads: Sequence[_Payload]) -> _Partial:
    """All payloads in one pass; raises ArrowInvalid or ValueError when any of them is not plain."""
    longest = max(len(payload.line) for payload in payloads)
    table = pyarrow.json.read_json(
        pa.BufferReader(b"\n".join(payload.line for payload in payloads)),
        read_options=pyarrow.json.ReadOptions(block_size=max(_LEAST_BLOCK_BYTES, longest + 1)),
        parse_options=_PARSE,
    )
    if table.num_rows != len(payloads):
        raise ValueError("a payload holds more than one JSON text")
    lists = table["r"].combine_chunks()
    counts = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    for payload, count in zip(payloads, counts, strict=True):
        if count < 0 or payload.readings not in (None, count):
            raise ValueError("a payload is not a list of whole readings")
    readings = lists.flatten()
    if readings.null_count:
        raise ValueError("a reading is null")
    columns = dict(zip(_NAMES, readings.flatten(), strict=True))
    unknown_fields = _unknown_fields(payloads, columns)
    columns["event_ts"] = parse_timestamps(columns["event_ts"])
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    columns[MESSAGE_COLUMN] = pa.array(
        np.repeat(np.array([p.message for p in payloads], np.int32), counts)
    )
    columns[ROW_COLUMN] = pa.array((np.arange(len(readings)) - starts).astype(np.int32))
    return _Partial([pa.table(columns, schema=DECODED_SCHEMA)], [], unknown_fields)


def _unknown_fields(payloads: Sequence[_Payload], columns: dict[str, pa.Array]) -> int:
    """How many fields the parse has left out.

    Every key is followed by `":` and every non-null value stands for one key, so equal numbers
    mean that nothing was left out; otherwise the payloads are read once more to count.

    Raises:
        ValueError: a payload is not JSON after all.
    """
    keys = sum(payload.line.count(b'":') for payload in payloads) - len(payloads)
    values = sum(len(column) - column.null_count for column in columns.values())
    if keys == values:
        return 0
    count = 0
    for payload in payloads:
        for reading in orjson.loads(payload.line)["r"]:
            count += len(reading.keys() - _KNOWN)
    return count


def _decode_singly(payload: _Payload, batch: MessageBatch) -> _Partial:
    """One payload, reading by reading, by the exact judge."""
    rows: list[dict[str, Any]] = []
    refusals: list[Refusal] = []
    unknown_fields = 0
    try:
        parts = SPLITTERS[payload.content_type](payload.data)
    except ReadingRejected as error:
        return _Partial([], [refuse_payload(payload.message, payload.data, error)], 0)
    for row, part in enumerate(parts):
        try:
            if part.error:
                raise part.error
            checked = check_reading(part.value, now=batch.ingest_ts)
        except ReadingRejected as error:
            refusals.append(refuse_reading(payload.message, row, part, error))
        else:
            rows.append(checked | {MESSAGE_COLUMN: payload.message, ROW_COLUMN: row})
            unknown_fields += len(part.value.keys() - _KNOWN)
    return _Partial([pa.Table.from_pylist(rows, DECODED_SCHEMA)], refusals, unknown_fields)


def read_arrow(data: bytes) -> pa.Table:
    """Table of an Arrow IPC stream payload.

    Raises:
        ReadingRejected: it is no such stream.
    """
    try:
        with pyarrow.ipc.open_stream(pa.BufferReader(data)) as stream:
            table = stream.read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, ValueError) as error:
        raise ReadingRejected(
            RejectionCode.INVALID_ARROW, None, f"not an Arrow IPC stream: {error}"
        ) from error


def _decode_arrow(index: int, data: bytes) -> _Partial:
    table = read_arrow(data)
    columns = wire_columns(table)
    columns[MESSAGE_COLUMN] = pa.array(np.full(table.num_rows, index, np.int32))
    columns[ROW_COLUMN] = pa.array(np.arange(table.num_rows, dtype=np.int32))
    unknown = sum(
        len(table[name]) - table[name].null_count
        for name in table.column_names
        if name not in _KNOWN
    )
    return _Partial([pa.table(columns, schema=DECODED_SCHEMA)], [], unknown)


def wire_columns(table: pa.Table) -> dict[str, Any]:
    """Contract columns of an Arrow table, in the contract's types; absent optional ones are null.

    Raises:
        ReadingRejected: a required column is missing, stands twice, or has a type that would have
            to be coerced.
    """
    columns: dict[str, Any] = {}
    for f in READING_FIELDS:
        found = table.column_names.count(f.name)
        if found > 1:
            raise ReadingRejected(RejectionCode.DUPLICATE_KEY, f.name, "the column stands twice")
        if not found and f.required:
            raise ReadingRejected(RejectionCode.MISSING_FIELD, f.name, "the column is missing")
        columns[f.name] = (
            _as_wire(f.name, table[f.name]) if found else pa.nulls(table.num_rows, f.type)
        )
    return columns


def _as_wire(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    wanted, found = WIRE_SCHEMA.field(name).type, column.type
    if not _castable(found, wanted):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, name, f"Arrow type {found} where {wanted} is meant"
        )
    if pa.types.is_timestamp(wanted) and _is_text(found):
        return pa.chunked_array(
            [parse_timestamps(chunk.cast(pa.string())) for chunk in column.chunks], TIMESTAMP
        )
    try:
        return column.cast(wanted, safe=not pa.types.is_timestamp(wanted))
    except pa.ArrowInvalid as error:
        raise ReadingRejected(RejectionCode.OUT_OF_RANGE, name, str(error)) from error


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _castable(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_null(found):
        return True
    if pa.types.is_timestamp(wanted):
        return _is_text(found) or (pa.types.is_timestamp(found) and found.tz is not None)
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return is_list and (_is_text(found.value_type) or pa.types.is_null(found.value_type))
    if pa.types.is_string(wanted):
        return _is_text(found)
    if pa.types.is_integer(wanted):
        return pa.types.is_integer(found)
    return pa.types.is_floating(found) or pa.types.is_integer(found)
