"""Decode: reads message payloads, gives their readings as columns and refuses what is undecodable.

All JSON payloads of a batch are parsed in one pass of Arrow's JSON reader. Where that fails the
batch is halved until the payload at fault stands alone; only that one is read reading by reading.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, Final, NamedTuple

import msgspec
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
    ContentEncoding,
    ContentType,
)
from beam_jobs.checks import (
    INT64_MAX,
    JSON_BLANKS,
    SPLITTERS,
    Part,
    check_reading,
    decode_text,
    is_text,
    part_of,
    reading_texts,
)
from beam_jobs.compression import check_arrow_size, decompress
from beam_jobs.elements import (
    DECODED_SCHEMA,
    Decoded,
    Message,
    MessageBatch,
    Refusal,
)
from beam_jobs.timestamps import parse_timestamps

_NAMES: Final = tuple(f.name for f in READING_FIELDS)
_KNOWN: Final = frozenset(_NAMES)
_QUOTED_NAMES: Final = tuple(f'"{name}"'.encode() for name in _NAMES)
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
_TYPES: Final = [f.type for f in READING_FIELDS]
# Threads within a stream cost more than they save at the size of a message.
_ONE_THREAD: Final = pyarrow.ipc.IpcReadOptions(use_threads=False)
_READER_COUNT: Final = os.cpu_count() or 1
_READERS: Final = ThreadPoolExecutor(_READER_COUNT, thread_name_prefix="arrow-reader")


@dataclass(frozen=True)
class PayloadBounds:
    """How large a payload may be.

    Attributes:
        max_payload_bytes: as it arrives.
        max_decoded_bytes: decompressed.
    """

    max_payload_bytes: int
    max_decoded_bytes: int


class _Payload(NamedTuple):
    message: int
    content_type: ContentType
    data: bytes
    texts: list[bytes]
    is_array: bool


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


def decode(batch: MessageBatch, bounds: PayloadBounds) -> Decoded:
    """Readings of all payloads of a batch.

    Args:
        batch: the messages.
        bounds: a larger payload is refused.

    Returns:
        One row per decodable reading (its values not yet checked), refusals for the rest. The
        messages of its batch are decompressed.
    """
    refusals: list[Refusal] = []
    plain = list(batch.messages)
    texts: list[_Payload] = []
    arrows: list[tuple[int, bytes]] = []
    for index, message in enumerate(batch.messages):
        try:
            plain[index] = _decompressed(message, bounds)
            content_type = content_type_of(message.attributes)
            if content_type is ContentType.ARROW:
                arrows.append((index, plain[index].data))
            else:
                texts.append(_plain(index, content_type, plain[index].data))
        except ReadingRejected as error:
            refusals.append(refuse_payload(index, message.data, error))
    batch_in_plain = replace(batch, messages=plain)
    fast = [payload for payload in texts if payload.texts]
    parts = [_decode_together(fast, batch), *_decode_arrows(arrows, bounds)]
    parts += [_decode_singly(payload, batch) for payload in texts if not payload.texts]
    tables = [table for part in parts for table in part.readings]
    refusals += [
        # A payload refused whole is kept as it came.
        refusal
        if refusal.row is not None
        else replace(refusal, payload=batch.messages[refusal.message].data)
        for part in parts
        for refusal in part.refusals
    ]
    return Decoded(
        batch_in_plain,
        # One chunk: a chunk per message would make every later step pay per message.
        pa.concat_tables(tables).combine_chunks() if tables else DECODED_SCHEMA.empty_table(),
        refusals,
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


def _decompressed(message: Message, bounds: PayloadBounds) -> Message:
    """The message with its payload in plain; raises ReadingRejected."""
    if len(message.data) > bounds.max_payload_bytes:
        raise ReadingRejected(
            RejectionCode.PAYLOAD_TOO_LARGE,
            None,
            f"{len(message.data)} bytes; at most {bounds.max_payload_bytes} "
            "(AMI_MAX_PAYLOAD_BYTES)",
        )
    claimed = message.attributes.get(Attribute.CONTENT_ENCODING)
    if claimed:
        try:
            encoding = ContentEncoding(claimed)
        except ValueError as error:
            raise ReadingRejected(
                RejectionCode.UNKNOWN_CONTENT_ENCODING,
                None,
                f"content_encoding {claimed!r} is none of {', '.join(ContentEncoding)}",
            ) from error
        attributes = {
            name: value
            for name, value in message.attributes.items()
            if name != Attribute.CONTENT_ENCODING
        }
        data = decompress(message.data, encoding, bounds.max_decoded_bytes)
        message = message._replace(data=data, attributes=attributes)
    if not message.data.strip(_BLANKS):
        raise ReadingRejected(RejectionCode.EMPTY_PAYLOAD, None, "the payload is empty")
    return message


def _plain(index: int, content_type: ContentType, data: bytes) -> _Payload:
    """A payload as texts for the common parse; without texts when it needs care."""
    if not data.isascii():
        decode_text(data)
    texts = [data.strip(_BLANKS)]
    if content_type is ContentType.NDJSON:
        texts = [text for line in data.split(b"\n") if (text := line.strip(_BLANKS))]
    if any(b"\n" in text or b"\r" in text for text in texts):
        texts = []
    is_array = content_type is ContentType.JSON and bool(texts) and texts[0].startswith(b"[")
    return _Payload(index, content_type, data, texts, is_array)


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
    lines = _as_lines(payloads)
    try:
        table, unknown_fields = _read_lines(lines, _KNOWN_ONLY), 0
    except pa.ArrowInvalid as error:
        if "unexpected field" not in str(error):
            raise
        table = _read_lines(lines, _UNKNOWN_LEFT_OUT)
        unknown_fields = _unknown_fields(lines)
    if table.num_rows != sum(len(payload.texts) for payload in payloads):
        raise ValueError("a payload holds more than one JSON text")
    owners = np.repeat(np.arange(len(payloads)), [len(payload.texts) for payload in payloads])
    one_each = np.array([not payload.is_array for payload in payloads])[owners]
    lists = table["r"].combine_chunks()
    counts = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    if (counts < 0).any() or (counts[one_each] != 1).any():
        raise ValueError("a payload is not a list of whole readings")
    readings = lists.flatten()
    if readings.null_count:
        raise ValueError("a reading is null")
    columns = dict(zip(_NAMES, readings.flatten(), strict=True))
    columns["event_ts"] = parse_timestamps(columns["event_ts"])
    messages = np.array([payload.message for payload in payloads])
    sizes = np.bincount(owners, weights=counts, minlength=len(payloads)).astype(np.int64)
    return _Partial([_placed(list(columns.values()), messages, sizes)], [], unknown_fields)


def _as_lines(payloads: Sequence[_Payload]) -> bytes:
    """All texts as lines `{"r":[…]}`, put together in one go: each copy of a payload costs."""
    pieces: list[bytes] = []
    for payload in payloads:
        before, after = (b'{"r":', b"}\n") if payload.is_array else (b'{"r":[', b"]}\n")
        for text in payload.texts:
            pieces += (before, text, after)
    return b"".join(pieces)


def _read_lines(lines: bytes, options: pyarrow.json.ParseOptions) -> pa.Table:
    # A block must hold a whole line.
    block_bytes = _LEAST_BLOCK_BYTES
    while block_bytes < len(lines) and _longest_exceeds(lines, block_bytes):
        block_bytes *= 2
    return pyarrow.json.read_json(
        pa.BufferReader(lines),
        read_options=pyarrow.json.ReadOptions(block_size=block_bytes),
        parse_options=options,
    )


def _longest_exceeds(lines: bytes, size: int) -> bool:
    start = 0
    while len(lines) - start > size:
        end = lines.rfind(b"\n", start, start + size)
        if end < 0:
            return True
        start = end + 1
    return False


def _unknown_fields(lines: bytes) -> int:
    """How many fields of the readings the parse has left out.

    Raises:
        ValueError: what was left out is no field of a reading, so a payload is not plain JSON.
    """
    count = 0
    for line in lines.splitlines():
        wrapped = orjson.loads(line)
        if wrapped.keys() != {"r"}:
            raise ValueError("a payload is more than its readings")
        count += sum(len(reading.keys() - _KNOWN) for reading in wrapped["r"] if reading)
    return count


def _decode_singly(payload: _Payload, batch: MessageBatch) -> _Partial:
    """One payload, reading by reading; those that are not plain go to the exact judge."""
    columns: list[list[Any]] = [[] for _ in _NAMES]
    kept: list[int] = []
    refusals: list[Refusal] = []
    unknown_fields = 0
    texts = reading_texts(payload.content_type, payload.data)
    try:
        readings: Sequence[bytes | Part] = (
            SPLITTERS[payload.content_type](payload.data) if texts is None else texts
        )
    except ReadingRejected as error:
        return _Partial([], [refuse_payload(payload.message, payload.data, error)], 0)
    for row, reading in enumerate(readings):
        plain = _plain_reading(reading) if isinstance(reading, bytes) else None
        if plain:
            values: tuple[Any, ...] = msgspec.structs.astuple(plain)
        else:
            part = reading if isinstance(reading, Part) else part_of(reading)
            try:
                if part.error:
                    raise part.error
                checked = check_reading(part.value, now=batch.ingest_ts)
            except ReadingRejected as error:
                refusals.append(refuse_reading(payload.message, row, part, error))
                continue
            values = (checked.pop("event_ts").isoformat(), *checked.values())
            unknown_fields += len(part.value.keys() - _KNOWN)
        kept.append(row)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return _Partial([_table(columns, payload.message, kept)], refusals, unknown_fields)


class _Reading(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A reading whose fields have the types of the contract; their values are not judged here."""

    event_ts: str
    meter_id: str
    pole_id: str
    seq: Annotated[int, msgspec.Meta(ge=-INT64_MAX, le=INT64_MAX)]
    voltage_v: float
    current_a: float
    power_kw: float
    reactive_kvar: float | None = None
    freq_hz: float | None = None
    quality_flags: list[str] | None = None


_READING: Final = msgspec.json.Decoder(_Reading)


def _plain_reading(text: bytes) -> _Reading | None:
    """The reading, where nothing about its text is in doubt; else None."""
    # An escape may hide a key that stands twice; the decoder would take the last of them.
    if b"\\" in text or any(text.count(key) > 1 for key in _QUOTED_NAMES):
        return None
    try:
        return _READING.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _table(columns: list[list[Any]], message: int, rows: list[int]) -> pa.Table:
    texts, *values = columns
    fields = READING_FIELDS[1:]
    return pa.table(
        [
            parse_timestamps(pa.array(texts, pa.string())),
            *(pa.array(column, f.type) for column, f in zip(values, fields, strict=True)),
            pa.array([message] * len(rows), pa.int32()),
            pa.array(rows, pa.int32()),
        ],
        schema=DECODED_SCHEMA,
    )


def read_arrow(data: bytes) -> pa.Table:
    """Table of an Arrow IPC stream payload.

    Raises:
        ReadingRejected: it is no such stream.
    """
    try:
        with pyarrow.ipc.open_stream(pa.BufferReader(data), options=_ONE_THREAD) as stream:
            table = stream.read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, ValueError) as error:
        raise ReadingRejected(
            RejectionCode.INVALID_ARROW, None, f"not an Arrow IPC stream: {error}"
        ) from error


def _decode_arrows(payloads: list[tuple[int, bytes]], bounds: PayloadBounds) -> list[_Partial]:
    """All Arrow payloads; those of the contract's own schema as one table."""
    shares = [payloads[first::_READER_COUNT] for first in range(_READER_COUNT)]
    read = [
        outcome
        for share in _READERS.map(partial(_read_all, bounds=bounds), shares)
        for outcome in share
    ]
    plain: list[tuple[int, pa.Table]] = []
    parts = []
    for index, data, outcome in sorted(read, key=itemgetter(0)):
        if isinstance(outcome, ReadingRejected):
            parts.append(_Partial([], [refuse_payload(index, data, outcome)], 0))
        elif _is_plain(outcome.schema):
            plain.append((index, outcome))
        else:
            parts.append(_decode_arrow(index, data, outcome, bounds))
    if plain:
        columns = [table.columns for _, table in plain]
        joined = [
            pa.chunked_array([c for column in same for c in column.chunks], f.type)
            for same, f in zip(zip(*columns, strict=True), READING_FIELDS, strict=True)
        ]
        sizes = np.array([table.num_rows for _, table in plain])
        parts.append(
            _Partial([_placed(joined, np.array([index for index, _ in plain]), sizes)], [], 0)
        )
    return parts


def _is_plain(schema: pa.Schema) -> bool:
    return schema.names == list(_NAMES) and schema.types == _TYPES


def _read_all(
    payloads: list[tuple[int, bytes]], *, bounds: PayloadBounds
) -> list[tuple[int, bytes, pa.Table | ReadingRejected]]:
    return [(index, data, _read_bounded(data, bounds)) for index, data in payloads]


def _read_bounded(data: bytes, bounds: PayloadBounds) -> pa.Table | ReadingRejected:
    try:
        check_arrow_size(data, bounds.max_decoded_bytes)
        return read_arrow(data)
    except ReadingRejected as error:
        return error


def _decode_arrow(index: int, data: bytes, table: pa.Table, bounds: PayloadBounds) -> _Partial:
    try:
        columns = wire_columns(table, bounds.max_decoded_bytes)
    except ReadingRejected as error:
        return _Partial([], [refuse_payload(index, data, error)], 0)
    unknown = sum(
        len(column) - column.null_count
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in _KNOWN
    )
    placed = _placed(list(columns.values()), np.array([index]), np.array([table.num_rows]))
    return _Partial([placed], [], unknown)


def _placed(columns: list[Any], messages: Any, sizes: Any) -> pa.Table:
    """`DECODED_SCHEMA` of columns that hold `sizes` readings of each of `messages`, in order."""
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = [
        pa.array(np.repeat(messages, sizes).astype(np.int32)),
        pa.array((np.arange(len(starts)) - starts).astype(np.int32)),
    ]
    return pa.table([*columns, *places], schema=DECODED_SCHEMA)


def wire_columns(table: pa.Table, max_decoded_bytes: int) -> dict[str, Any]:
    """Contract columns of an Arrow table, in the contract's types; absent optional ones are null.

    Args:
        table: of any schema.
        max_decoded_bytes: a column whose dictionary unfolds to more is refused.

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
            _as_wire(f.name, table[f.name], max_decoded_bytes)
            if found
            else pa.nulls(table.num_rows, f.type)
        )
    return columns


def _as_wire(name: str, column: pa.ChunkedArray, max_decoded_bytes: int) -> pa.ChunkedArray:
    wanted, found = WIRE_SCHEMA.field(name).type, column.type
    is_dictionary = pa.types.is_dictionary(found)
    if is_dictionary:
        found = found.value_type
    # Arrow cannot unfold a dictionary of lists.
    if not _castable(found, wanted) or (is_dictionary and pa.types.is_list(wanted)):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, name, f"Arrow type {column.type} where {wanted} is meant"
        )
    if is_dictionary:
        if _unfolded_bytes(column) > max_decoded_bytes:
            raise ReadingRejected(
                RejectionCode.PAYLOAD_TOO_LARGE,
                name,
                f"its dictionary unfolds to more than {max_decoded_bytes} bytes "
                "(AMI_MAX_DECODED_BYTES)",
            )
        column = column.cast(found)
    if pa.types.is_timestamp(wanted) and _is_text(found):
        return pa.chunked_array(
            [parse_timestamps(chunk.cast(pa.string())) for chunk in column.chunks], TIMESTAMP
        )
    try:
        return column.cast(options=pc.CastOptions(wanted, allow_time_truncate=True))
    except pa.ArrowInvalid:
        # Some value does not fit: null here, so that only its reading is judged and refused.
        return pa.chunked_array([[_fitting(value, wanted) for value in column]], wanted)


def _unfolded_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a dictionary column's texts once each row has its own; 0 for other values."""
    if not _is_text(column.type.value_type):
        return 0
    return sum(
        pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    )


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
