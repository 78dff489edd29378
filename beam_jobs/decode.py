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
from beam_jobs.checks import (
    INT64_MAX,
    JSON_BLANKS,
    Part,
    check_reading,
    decode_text,
    is_text,
    split_json,
    split_ndjson,
)
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
_WRAPPED: Final = pa.schema([("r", pa.list_(_JSON_TYPE))])
_KNOWN_ONLY: Final = pyarrow.json.ParseOptions(
    explicit_schema=_WRAPPED, unexpected_field_behavior="error"
)
# Never "infer": it recurses, and a deeply nested unknown field would end the process.
_UNKNOWN_LEFT_OUT: Final = pyarrow.json.ParseOptions(
    explicit_schema=_WRAPPED, unexpected_field_behavior="ignore"
)
_BLANKS: Final = JSON_BLANKS.encode()
_LEAST_BLOCK_BYTES: Final = 4 * 1024 * 1024

SPLITTERS: Final[dict[ContentType, Callable[[bytes], list[Part]]]] = {
    ContentType.JSON: split_json,
    ContentType.NDJSON: split_ndjson,
}


class _Payload(NamedTuple):
    message: int
    content_type: ContentType
    data: bytes
    lines: list[bytes]
    one_each: bool


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
    fast = [payload for payload in texts if payload.lines]
    parts.append(_decode_together(fast, batch))
    parts += [_decode_singly(payload, batch) for payload in texts if not payload.lines]
    tables = [table for part in parts for table in part.readings]
    return Decoded(
        batch,
        # One chunk: a chunk per message would make every later step pay per message.
        pa.concat_tables(tables).combine_chunks() if tables else DECODED_SCHEMA.empty_table(),
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
        meter_id if is_text(meter_id) else None,
        pole_id if is_text(pole_id) else None,
        seq if type(seq) is int and abs(seq) <= INT64_MAX else None,
    )


def _check_size(data: bytes, max_payload_bytes: int) -> None:
    if not data.strip(_BLANKS):
        raise ReadingRejected(RejectionCode.EMPTY_PAYLOAD, None, "the payload is empty")
    if len(data) > max_payload_bytes:
        raise ReadingRejected(
            RejectionCode.PAYLOAD_TOO_LARGE,
            None,
            f"{len(data)} bytes; at most {max_payload_bytes} (AMI_MAX_PAYLOAD_BYTES)",
        )


def _wrapped(index: int, content_type: ContentType, data: bytes) -> _Payload:
    """A payload as lines `{"r":[…]}` for the common parse; without lines when it needs care."""
    if not data.isascii():
        decode_text(data)
    texts = [data.strip(_BLANKS)]
    if content_type is ContentType.NDJSON:
        texts = [text for line in data.split(b"\n") if (text := line.strip(_BLANKS))]
    if any(b"\n" in text or b"\r" in text for text in texts):
        return _Payload(index, content_type, data, [], one_each=False)
    if content_type is ContentType.JSON and texts[0].startswith(b"["):
        return _Payload(index, content_type, data, [b'{"r":' + texts[0] + b"}"], one_each=False)
    lines = [b'{"r":[' + text + b"]}" for text in texts]
    return _Payload(index, content_type, data, lines, one_each=True)


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
    lines = [line for payload in payloads for line in payload.lines]
    try:
        table, unknown_fields = _read_lines(lines, _KNOWN_ONLY), 0
    except pa.ArrowInvalid as error:
        if "unexpected field" not in str(error):
            raise
        table = _read_lines(lines, _UNKNOWN_LEFT_OUT)
        unknown_fields = _unknown_fields(lines)
    if table.num_rows != len(lines):
        raise ValueError("a payload holds more than one JSON text")
    owners = np.repeat(np.arange(len(payloads)), [len(payload.lines) for payload in payloads])
    one_each = np.array([payload.one_each for payload in payloads])[owners]
    lists = table["r"].combine_chunks()
    counts = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    if (counts < 0).any() or (counts[one_each] != 1).any():
        raise ValueError("a payload is not a list of whole readings")
    readings = lists.flatten()
    if readings.null_count:
        raise ValueError("a reading is null")
    columns = dict(zip(_NAMES, readings.flatten(), strict=True))
    columns["event_ts"] = parse_timestamps(columns["event_ts"])
    messages = np.array([payload.message for payload in payloads], np.int32)
    sizes = np.bincount(owners, weights=counts, minlength=len(payloads)).astype(np.int64)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns[MESSAGE_COLUMN] = pa.array(np.repeat(messages, sizes))
    columns[ROW_COLUMN] = pa.array((np.arange(len(readings)) - starts).astype(np.int32))
    return _Partial([pa.table(columns, schema=DECODED_SCHEMA)], [], unknown_fields)


def _read_lines(lines: Sequence[bytes], options: pyarrow.json.ParseOptions) -> pa.Table:
    longest = max(len(line) for line in lines)
    return pyarrow.json.read_json(
        pa.BufferReader(b"\n".join(lines)),
        read_options=pyarrow.json.ReadOptions(block_size=max(_LEAST_BLOCK_BYTES, longest + 1)),
        parse_options=options,
    )


def _unknown_fields(lines: Sequence[bytes]) -> int:
    """How many fields of the readings the parse has left out.

    Raises:
        ValueError: what was left out is no field of a reading, so a payload is not plain JSON.
    """
    count = 0
    for line in lines:
        wrapped = orjson.loads(line)
        if wrapped.keys() != {"r"}:
            raise ValueError("a payload is more than its readings")
        count += sum(len(reading.keys() - _KNOWN) for reading in wrapped["r"] if reading)
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
        len(column) - column.null_count
        for name, column in zip(table.column_names, table.columns, strict=True)
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
        return column.cast(options=pc.CastOptions(wanted, allow_time_truncate=True))
    except pa.ArrowInvalid:
        # Some value does not fit: null here, so that only its reading is judged and refused.
        return pa.chunked_array([[_fitting(value, wanted) for value in column]], wanted)


def _fitting(value: pa.Scalar, wanted: pa.DataType) -> pa.Scalar | None:
    try:
        return value.cast(options=pc.CastOptions(wanted, allow_time_truncate=True))
    except pa.ArrowInvalid:
        return None


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
