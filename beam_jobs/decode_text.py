"""Decode text: reads JSON and NDJSON payloads, gives their readings as columns, refuses the rest.

Some megabytes at a time are parsed by Arrow's JSON reader. Where that fails, the few readings that
are to blame are sifted out and the rest is parsed again; only what is left out is read reading by
reading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ami_contract.errors import ReadingRejected
from ami_contract.reading import READING_FIELDS, ContentType
from beam_jobs.checks import JSON_BLANKS, SPLITTERS, Text, decode_text
from beam_jobs.decode_parts import (
    DECODERS,
    KNOWN_FIELDS,
    Partial,
    judge_readings,
    parts_at,
    places,
    refuse_payload,
    texts_of,
    without,
)
from beam_jobs.elements import DECODED_SCHEMA, MessageBatch
from beam_jobs.timestamps import parse_timestamps

_NAMES: Final = tuple(f.name for f in READING_FIELDS)
_INTEGERS: Final = tuple(f.name for f in READING_FIELDS if pa.types.is_integer(f.type))


def _parsed_type(type_: pa.DataType) -> pa.DataType:
    """Type that the parse gives a field: such that no value of its JSON type stops the parse."""
    if pa.types.is_timestamp(type_):
        return pa.string()
    return pa.float64() if pa.types.is_integer(type_) else type_


_JSON_TYPE: Final = pa.struct([(f.name, _parsed_type(f.type)) for f in READING_FIELDS])
_WRAPPED: Final = pa.schema([("r", pa.list_(_JSON_TYPE))])
_KNOWN_ONLY: Final = pyarrow.json.ParseOptions(
    explicit_schema=_WRAPPED, unexpected_field_behavior="error"
)
# Never "infer": it recurses, and a deeply nested unknown field would end the process.
_UNKNOWN_LEFT_OUT: Final = pyarrow.json.ParseOptions(
    explicit_schema=_WRAPPED, unexpected_field_behavior="ignore"
)
_BLANKS: Final = JSON_BLANKS.encode()
_EXACT_BELOW: Final = 2.0**53
_SHARES: Final = 16
_PASS_BYTES: Final = 4 * 1024 * 1024
_LEAST_BLOCK_BYTES: Final = 4 * 1024 * 1024


class TextPayload(NamedTuple):
    """One payload on its way to the common parse.

    Attributes:
        message: index of its message in the batch.
        content_type: JSON or NDJSON.
        data: the payload.
        texts: JSON texts it consists of, each without a line break; empty: it needs care.
        is_array: whether its one text is an array of readings; else each text is a reading.
        rows: which rows of the payload the texts hold; None: all.
    """

    message: int
    content_type: ContentType
    data: bytes
    texts: list[bytes]
    is_array: bool
    rows: np.ndarray | None = None

    @property
    def is_single(self) -> bool:
        """Whether the whole payload is one reading."""
        return self.content_type is ContentType.JSON and not self.is_array


def text_payload(index: int, content_type: ContentType, data: bytes) -> TextPayload:
    """A payload as texts for the common parse; without texts when it needs care."""
    if not data.isascii():
        decode_text(data)
    texts = [data.strip(_BLANKS)]
    if content_type is ContentType.NDJSON:
        texts = [text for line in data.split(b"\n") if (text := line.strip(_BLANKS))]
    if any(b"\n" in text or b"\r" in text for text in texts):
        texts = []
    is_array = content_type is ContentType.JSON and bool(texts) and texts[0].startswith(b"[")
    return TextPayload(index, content_type, data, texts, is_array)


def decode_texts(payloads: list[TextPayload], batch: MessageBatch) -> list[Partial]:
    """All JSON and NDJSON payloads: some megabytes in one pass, the passes side by side."""
    shares: list[list[TextPayload]] = []
    room = 0
    for payload in payloads:
        if payload.texts:
            if room <= 0:
                shares.append([])
                room = _PASS_BYTES
            shares[-1].append(payload)
            room -= len(payload.data)
    together = DECODERS.map(partial(_decode_together, batch=batch), shares)
    alone = [_judge(payload, None, batch) for payload in payloads if not payload.texts]
    return [part for parts in together for part in parts] + alone


def _decode_together(payloads: list[TextPayload], batch: MessageBatch) -> list[Partial]:
    """Payloads in one pass; where that fails, in one more without the readings in doubt."""
    try:
        return [_parse(payloads)]
    except (pa.ArrowInvalid, ValueError):
        return _decode_sifted(payloads, batch)


def _decode_sifted(payloads: list[TextPayload], batch: MessageBatch) -> list[Partial]:
    """Payloads without the readings in doubt in one pass; those are judged."""
    # More than one such reading in a payload is rare, and to be sure costs decoding all of it.
    sifted = [_sift(payload, batch, 1) for payload in payloads]
    try:
        parsed = _parse_all(sifted)
    except (pa.ArrowInvalid, ValueError):
        sifted = [_sift(payload, batch, _MOST_DOUBTFUL) for payload in payloads]
        parsed = _decode_parted([payload for payload, _ in sifted if payload.texts], batch)
    return parsed + [_judge(payload, rows, batch) for payload, rows in sifted if rows]


def _parse_all(sifted: list[tuple[TextPayload, list[int]]]) -> list[Partial]:
    left = [payload for payload, _ in sifted if payload.texts]
    return [_parse(left)] if left else []


def _decode_parted(payloads: list[TextPayload], batch: MessageBatch) -> list[Partial]:
    """Payloads in as few passes as work, parting those that fail until one stands alone."""
    if not payloads:
        return []
    try:
        return [_parse(payloads)]
    except (pa.ArrowInvalid, ValueError):
        if len(payloads) == 1:
            rows = payloads[0].rows
            return [_judge(payloads[0], None if rows is None else rows.tolist(), batch)]
    size = -(-len(payloads) // _SHARES)
    shares = [payloads[first : first + size] for first in range(0, len(payloads), size)]
    return [part for share in shares for part in _decode_parted(share, batch)]


class _Typed(msgspec.Struct, gc=False):
    """A reading whose fields have the types of the contract."""

    event_ts: str
    meter_id: str
    pole_id: str
    seq: float
    voltage_v: float
    current_a: float
    power_kw: float
    reactive_kvar: float | None = None
    freq_hz: float | None = None
    quality_flags: list[str] | None = None


_TYPED: Final = msgspec.json.Decoder(list[_Typed])
_FAILED_ROW: Final = re.compile(r"\$\[(\d+)\]")
_MOST_DOUBTFUL: Final = 8


def _array(texts: Sequence[Text]) -> bytes:
    return b"".join((b"[", b",".join(texts), b"]"))


def _sift(payload: TextPayload, batch: MessageBatch, most: int) -> tuple[TextPayload, list[int]]:
    """The payload without its first readings of a wrong type, and their rows.

    Only guesses what stops the common parse, which has the last word on what is left. A payload
    comes back as it is where none can be told, or more than a few.

    Args:
        payload: of which readings may be of a wrong type.
        batch: it is of.
        most: how many readings are looked for; the rest of the payload is not looked at then.
    """
    texts = texts_of(batch, payload.message)
    if texts is None:
        return payload, []
    doubtful: list[int] = []
    first = 0
    while len(doubtful) < most:
        try:
            whole = payload.is_array and not first
            _TYPED.decode(payload.texts[0] if whole else _array(texts[first:]))
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
    if not doubtful or len(doubtful) >= _MOST_DOUBTFUL:
        return payload, []
    left = without(texts, doubtful)
    return payload._replace(
        texts=[_array(left)] if left else [],
        is_array=True,
        rows=np.delete(np.arange(len(texts)), doubtful),
    ), doubtful


def _parse(payloads: Sequence[TextPayload]) -> Partial:
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
        # Its fields are null then, for which it is judged, unless it is no reading but the payload.
        of_nulls = np.repeat(owners, counts)[readings.is_null().to_numpy(zero_copy_only=False)]
        if any(payloads[owner].is_single for owner in of_nulls):
            raise ValueError("a payload is null")
    columns = dict(zip(_NAMES, readings.flatten(), strict=True))
    columns["event_ts"] = parse_timestamps(columns["event_ts"])
    columns |= {name: _whole(columns[name]) for name in _INTEGERS}
    messages = np.array([payload.message for payload in payloads])
    sizes = np.bincount(owners, weights=counts, minlength=len(payloads)).astype(np.int64)
    where = places(messages, sizes, [payload.rows for payload in payloads])
    table = pa.table([*columns.values(), *where], schema=DECODED_SCHEMA)
    return Partial([table], [], unknown_fields)


def _whole(numbers: pa.Array) -> pa.Array:
    """Integers of numbers, null where one has a fraction or is not exact as a double."""
    exact = pc.and_(
        pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), pa.scalar(_EXACT_BELOW))
    )
    return pc.if_else(exact, numbers, pa.scalar(None, numbers.type)).cast(pa.int64())


def _as_lines(payloads: Sequence[TextPayload]) -> bytes:
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
        count += sum(len(reading.keys() - KNOWN_FIELDS) for reading in wrapped["r"] if reading)
    return count


def _judge(payload: TextPayload, rows: list[int] | None, batch: MessageBatch) -> Partial:
    """Some rows of a payload (None: all of it), reading by reading, by the exact judge."""
    try:
        parts = (
            dict(enumerate(SPLITTERS[payload.content_type](payload.data)))
            if rows is None
            else parts_at(batch, payload.message, rows)
        )
    except ReadingRejected as error:
        return Partial([], [refuse_payload(payload.message, payload.data, error)], 0)
    now = batch.ingest_ts_of(batch.messages[payload.message])
    return judge_readings(payload.message, parts, now)
