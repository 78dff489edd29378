"""Decode: reads message payloads, gives their readings as columns and refuses what is undecodable.

JSON payloads are parsed some megabytes at a time by Arrow's JSON reader. Where that fails, the few
readings that are to blame are sifted out and the rest is parsed again; only what is left out is
read reading by reading.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, Final, NamedTuple

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
    parts_at,
    reading_texts,
)
from beam_jobs.compression import check_arrow_size, decompress
from beam_jobs.elements import (
    DECODED_SCHEMA,
    MESSAGE_COLUMN,
    ROW_COLUMN,
    Decoded,
    Message,
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
_SHARES: Final = 16
_PASS_BYTES: Final = 4 * 1024 * 1024
_LEAST_BLOCK_BYTES: Final = 4 * 1024 * 1024
_TYPES: Final = [f.type for f in READING_FIELDS]
# Threads within a stream cost more than they save at the size of a message.
_ONE_THREAD: Final = pyarrow.ipc.IpcReadOptions(use_threads=False)
_DECODER_COUNT: Final = os.cpu_count() or 1
_DECODERS: Final = ThreadPoolExecutor(_DECODER_COUNT, thread_name_prefix="decoder")


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
    rows: list[int] | None = None


class Partial(NamedTuple):
    """What some payloads or readings of a batch came to; the attributes are those of `Decoded`."""

    readings: list[pa.Table]
    refusals: list[Refusal]
    unknown_fields: int


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
        messages of its batch are decompressed, but for those that were refused whole.
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
    parts = [*_decode_texts(texts, batch), *_decode_arrows(arrows, bounds)]
    tables = [table for part in parts for table in part.readings]
    refusals += [
        # A payload refused whole is kept as it came.
        refusal
        if refusal.row is not None
        else replace(refusal, payload=batch.messages[refusal.message].data)
        for part in parts
        for refusal in part.refusals
    ]
    for refusal in refusals:
        if refusal.row is None:
            plain[refusal.message] = batch.messages[refusal.message]
    return Decoded(
        replace(batch, messages=plain),
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
        1,
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


def _decode_texts(payloads: list[_Payload], batch: MessageBatch) -> list[Partial]:
    """All JSON and NDJSON payloads: some megabytes in one pass, the passes side by side."""
    shares: list[list[_Payload]] = []
    room = 0
    for payload in payloads:
        if payload.texts:
            if room <= 0:
                shares.append([])
                room = _PASS_BYTES
            shares[-1].append(payload)
            room -= len(payload.data)
    together = _DECODERS.map(partial(_decode_together, batch=batch), shares)
    alone = [_judge(payload, None, batch) for payload in payloads if not payload.texts]
    return [part for parts in together for part in parts] + alone


def _decode_together(payloads: list[_Payload], batch: MessageBatch) -> list[Partial]:
    """Payloads in one pass; where that fails, in one more without the readings in doubt."""
    try:
        return [_parse(payloads)]
    except (pa.ArrowInvalid, ValueError):
        sifted = [_sift(payload) for payload in payloads]
    judged = [_judge(payload, doubtful, batch) for payload, doubtful in sifted if doubtful]
    return judged + _decode_parted([payload for payload, _ in sifted if payload.texts], batch)


def _decode_parted(payloads: list[_Payload], batch: MessageBatch) -> list[Partial]:
    """Payloads in as few passes as work, parting those that fail until one stands alone."""
    if not payloads:
        return []
    try:
        return [_parse(payloads)]
    except (pa.ArrowInvalid, ValueError):
        if len(payloads) == 1:
            return [_judge(payloads[0], payloads[0].rows, batch)]
    size = -(-len(payloads) // _SHARES)
    shares = [payloads[first : first + size] for first in range(0, len(payloads), size)]
    return [part for share in shares for part in _decode_parted(share, batch)]


class _Typed(msgspec.Struct, gc=False):
    """A reading whose fields have the types of the contract."""

    event_ts: str
    meter_id: str
    pole_id: str
    seq: int
    voltage_v: float
    current_a: float
    power_kw: float
    reactive_kvar: float | None = None
    freq_hz: float | None = None
    quality_flags: list[str] | None = None


_TYPED: Final = msgspec.json.Decoder(list[_Typed])
_FAILED_ROW: Final = re.compile(r"\$\[(\d+)\]")
_MOST_DOUBTFUL: Final = 8


def _sift(payload: _Payload) -> tuple[_Payload, list[int]]:
    """The payload without its readings of a wrong type, and their rows.

    Only guesses what stops the common parse, which has the last word on what is left: a payload
    with more than a few such readings, or of which none can be told, comes back as it is.
    """
    texts = reading_texts(payload.content_type, payload.data)
    if texts is None:
        return payload, []
    rows = list(range(len(texts)))
    doubtful: list[int] = []
    first = 0
    while len(doubtful) <= _MOST_DOUBTFUL:
        try:
            _TYPED.decode(b"[" + b",".join(texts[first:]) + b"]")
        except msgspec.ValidationError as error:
            place = _FAILED_ROW.search(str(error))
            if not place:
                return payload, []
            doubtful.append(first + int(place[1]))
            first = doubtful[-1] + 1
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return payload, []
        else:
            break
    if not doubtful or len(doubtful) > _MOST_DOUBTFUL:
        return payload, []
    kept = [row for row in rows if row not in doubtful]
    joined = [b"[" + b",".join([texts[row] for row in kept]) + b"]"] if kept else []
    return payload._replace(texts=joined, is_array=True, rows=kept), doubtful


def _parse(payloads: Sequence[_Payload]) -> Partial:
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
    places = _places(messages, sizes, [payload.rows for payload in payloads])
    table = pa.table([*columns.values(), *places], schema=DECODED_SCHEMA)
    return Partial([table], [], unknown_fields)


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
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=block_bytes),
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


def _judge(payload: _Payload, rows: list[int] | None, batch: MessageBatch) -> Partial:
    """Some rows of a payload (None: all of it), reading by reading, by the exact judge."""
    try:
        parts = (
            dict(enumerate(SPLITTERS[payload.content_type](payload.data)))
            if rows is None
            else parts_at(payload.content_type, payload.data, rows)
        )
    except ReadingRejected as error:
        return Partial([], [refuse_payload(payload.message, payload.data, error)], 0)
    now = batch.ingest_ts_of(batch.messages[payload.message])
    return judge_readings(payload.message, parts, now)


def judge_readings(message: int, parts: Mapping[int, Part], now: datetime) -> Partial:
    """Verdict of the exact judge on single readings.

    Args:
        message: index of their message in the batch.
        parts: the readings by row.
        now: clock for the future limit.
    """
    good: list[dict[str, Any]] = []
    refusals: list[Refusal] = []
    unknown_fields = 0
    for row, part in parts.items():
        try:
            if part.error:
                raise part.error
            checked = check_reading(part.value, now=now)
        except ReadingRejected as error:
            refusals.append(refuse_reading(message, row, part, error))
        else:
            good.append(checked | {MESSAGE_COLUMN: message, ROW_COLUMN: row})
            unknown_fields += len(part.value.keys() - _KNOWN)
    return Partial([pa.Table.from_pylist(good, DECODED_SCHEMA)], refusals, unknown_fields)


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


def _decode_arrows(payloads: list[tuple[int, bytes]], bounds: PayloadBounds) -> list[Partial]:
    """All Arrow payloads; those of the contract's own schema as one table."""
    shares = [payloads[first::_DECODER_COUNT] for first in range(_DECODER_COUNT)]
    read = [
        outcome
        for share in _DECODERS.map(partial(_read_all, bounds=bounds), shares)
        for outcome in share
    ]
    plain: list[tuple[int, pa.Table]] = []
    parts = []
    for index, data, outcome in sorted(read, key=itemgetter(0)):
        if isinstance(outcome, ReadingRejected):
            parts.append(Partial([], [refuse_payload(index, data, outcome)], 0))
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
        places = _places(np.array([index for index, _ in plain]), sizes, [None] * len(plain))
        parts.append(Partial([pa.table([*joined, *places], schema=DECODED_SCHEMA)], [], 0))
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


def _decode_arrow(index: int, data: bytes, table: pa.Table, bounds: PayloadBounds) -> Partial:
    try:
        columns = wire_columns(table, bounds.max_decoded_bytes)
    except ReadingRejected as error:
        return Partial([], [refuse_payload(index, data, error)], 0)
    unknown = sum(
        len(column) - column.null_count
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in _KNOWN
    )
    places = _places(np.array([index]), np.array([table.num_rows]), [None])
    placed = pa.table([*columns.values(), *places], schema=DECODED_SCHEMA)
    return Partial([placed], [], unknown)


def _places(messages: Any, sizes: Any, rows: Sequence[list[int] | None]) -> tuple[Any, Any]:
    """Message and row of the readings of some messages, in order.

    Args:
        messages: index of each message.
        sizes: how many readings of each there are.
        rows: which of its rows they are; None: all.

    Raises:
        ValueError: there are not as many readings as rows.
    """
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    row = np.arange(len(starts)) - starts
    if any(each is not None for each in rows):
        row = np.concatenate(
            [
                np.arange(size) if each is None else each
                for each, size in zip(rows, sizes, strict=True)
            ]
        )
        if len(row) != len(starts):
            raise ValueError("a payload is not as many readings as were left of it")
    return (
        pa.array(np.repeat(messages, sizes).astype(np.int32)),
        pa.array(row.astype(np.int32)),
    )


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
            as_wire(f.name, table[f.name], max_decoded_bytes)
            if found
            else pa.nulls(table.num_rows, f.type)
        )
    return columns


def as_wire(name: str, column: pa.ChunkedArray, max_decoded_bytes: int) -> pa.ChunkedArray:
    """The column of a field in the contract's type; raises ReadingRejected as `wire_columns`."""
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
