"""Split by pole and minute: reads messages and their valid readings, gives the archive's files.

The raw archive is laid out by `pole_id` and minute (or five) of `event_ts`, but a message may hold
several of both. The functions here are pure; a caller brings the messages and writes the files:

    texts = [kept_text(m, segment, ingest_ts) for m in messages]     # of a batch, JSON and NDJSON
    texts = [parse_line(line) for line in lines]                     # of an archive file
    split_texts(texts, places, minutes=1) -> {PoleMinute: [line, …]}

    tables = [kept_table(m, segment, ingest_ts) for m in messages]   # of a batch, Arrow
    tables = rows_of(table)                                          # of an archive file
    split_tables(tables, places, minutes=1) -> {PoleMinute: [KeptTable, …]}; archive_table(…)

`places` has the columns `PLACE_COLUMNS`, one row per reading to keep: `message` is the index in the
list given, `row` the reading's index in that message, `pole_id` and `event_ts` its place. A
`Validated` batch's readings are such a table (`message` counting the batch's messages);
`places_of_texts` and `places_of_tables` read them from archived messages.

A line of a `.jsonl` file is one message's readings of one pole and minute:

    {"segment":…,"message_id":…,"publish_time":…,"ingest_ts":…,"attributes":{…},"readings":[…]}

`readings` holds the original text of each. A text that would break the line, because it spans
lines or is not JSON to a strict reader (NaN in an unknown field), stands as a JSON string.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from ami_contract.errors import LakeError
from ami_contract.lake import hour_folder
from ami_contract.reading import TIMESTAMP, Attribute, ContentType
from beam_jobs.checks import JSON_BLANKS
from beam_jobs.decode import content_type_of, read_arrow, wire_columns
from beam_jobs.elements import MESSAGE_COLUMN, ROW_COLUMN, Message
from beam_jobs.timestamps import parse_timestamps

ARCHIVE_MINUTES: Final = (1, 5)
PLACE_COLUMNS: Final = (MESSAGE_COLUMN, ROW_COLUMN, "pole_id", "event_ts")
ARROW_ARCHIVE_SCHEMA: Final[pa.Schema] = pa.schema(
    [
        pa.field("segment", pa.string(), nullable=False),
        pa.field("message_id", pa.string(), nullable=False),
        pa.field("publish_time", TIMESTAMP, nullable=False),
        pa.field("ingest_ts", TIMESTAMP, nullable=False),
        pa.field("attributes", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ]
)
"""An archived Arrow file: `payload` is an IPC stream with the original columns."""

_BLANKS: Final = JSON_BLANKS.encode()
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_DEPTH: Final = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


_Piece = TypeVar("_Piece")


class PoleMinute(NamedTuple):
    """Pole and start of the minute (or five) whose readings share a file."""

    pole_id: str
    minute: datetime

    @property
    def folder(self) -> str:
        """Folder below the archive's prefix: `pole_id=…/dt=YYYY-MM-DD/hr=HH/min=MM`."""
        return f"pole_id={self.pole_id}/{hour_folder(self.minute)}/min={self.minute:%M}"


class KeptText(NamedTuple):
    """A message of text readings.

    Attributes:
        head: its line up to the readings, ending with `[`.
        readings: original text of each, also of those that were refused.
    """

    head: bytes
    readings: Sequence[bytes | msgspec.Raw]


class KeptTable(NamedTuple):
    """A message of Arrow readings; all but the last as in `ARROW_ARCHIVE_SCHEMA`."""

    segment: str
    message_id: str
    publish_time: datetime
    ingest_ts: datetime
    attributes: dict[str, str]
    readings: pa.Table


def kept_text(message: Message, segment: str, ingest_ts: datetime) -> KeptText:
    """A JSON or NDJSON message of a batch, as it goes into the archive."""
    head = {
        "segment": segment,
        "message_id": message.message_id,
        "publish_time": _time(message.publish_time),
        "ingest_ts": _time(ingest_ts),
        "attributes": message.attributes,
    }
    return KeptText(orjson.dumps(head)[:-1] + b',"readings":[', reading_texts(message))


def kept_table(message: Message, segment: str, ingest_ts: datetime) -> KeptTable:
    """An Arrow message of a batch, as it goes into the archive."""
    return KeptTable(
        segment,
        message.message_id,
        message.publish_time,
        ingest_ts,
        message.attributes,
        read_arrow(message.data),
    )


def reading_texts(message: Message) -> Sequence[bytes | msgspec.Raw]:
    """Original text of each reading of a decodable JSON or NDJSON payload, in order.

    The index of a text is the reading's `row` in `Decoded` and `Refusal`.
    """
    if content_type_of(message.attributes) is ContentType.NDJSON:
        lines = (line.strip(_BLANKS) for line in message.data.split(b"\n"))
        return [_in_line(line) for line in lines if line]
    data = message.data.strip(_BLANKS)
    if not data.startswith(b"["):
        return [_in_line(data)]
    try:
        texts: list[msgspec.Raw] = _ARRAY.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return [_in_line(text) for text in _slices(data)]
    if b"\n" in data or b"\r" in data:
        return [_in_line(bytes(text)) for text in texts]
    return texts


def _slices(array: bytes) -> Iterator[bytes]:
    """Elements of a JSON array that Python's reader takes but a strict one does not."""
    depth, start = 0, 1
    for token in _TOKEN.finditer(array):
        text = token.group()
        depth += _DEPTH.get(text, 0)
        if (depth == 1 and text == b",") or depth == 0:
            yield array[start : token.start()].strip(_BLANKS)
            start = token.end()


def _in_line(text: bytes) -> bytes:
    """`text` where it can stand in a line of strict JSON, otherwise as a JSON string."""
    try:
        _ANY.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return orjson.dumps(text.decode())
    return orjson.dumps(text.decode()) if b"\n" in text or b"\r" in text else text


def original_text(reading: bytes | msgspec.Raw) -> bytes:
    """Text of a reading as it arrived, from its place in `readings`."""
    text = bytes(reading)
    return orjson.loads(text).encode() if text.startswith(b'"') else text


class _Line(msgspec.Struct):
    segment: str
    message_id: str
    publish_time: str
    ingest_ts: str
    attributes: dict[str, str]
    readings: list[msgspec.Raw]


_LINE: Final = msgspec.json.Decoder(_Line)


def parse_line(line: bytes) -> KeptText:
    """A line of a `.jsonl` archive file; its head is made again from what it says.

    Raises:
        LakeError: it is no such line.
    """
    try:
        found = _LINE.decode(line)
    except msgspec.DecodeError as error:
        raise LakeError(f"not a line of the archive: {error}: {line[:200]!r}") from error
    head = {name: getattr(found, name) for name in _Line.__struct_fields__[:-1]}
    return KeptText(orjson.dumps(head)[:-1] + b',"readings":[', found.readings)


class _Place(msgspec.Struct):
    pole_id: str
    event_ts: str


_PLACES: Final = msgspec.json.Decoder(list[_Place])


def places_of_texts(messages: Sequence[KeptText]) -> pa.Table:
    """Places of all readings of archived messages, which were valid when they were archived."""
    found: list[_Place] = []
    for message in messages:
        texts = [_strict(reading) for reading in message.readings]
        found += _PLACES.decode(b"[" + b",".join(texts) + b"]")
    return _places(
        [len(message.readings) for message in messages],
        pa.array([place.pole_id for place in found], pa.string()),
        parse_timestamps(pa.array([place.event_ts for place in found], pa.string())),
    )


def _strict(reading: bytes | msgspec.Raw) -> bytes:
    text = bytes(reading)
    if not text.startswith(b'"'):
        return text
    value: dict[str, Any] = json.loads(original_text(text))
    return orjson.dumps({name: value[name] for name in _Place.__struct_fields__})


def places_of_tables(messages: Sequence[KeptTable]) -> pa.Table:
    """Places of all readings of archived messages, which were valid when they were archived."""
    columns = [wire_columns(message.readings) for message in messages]
    return _places(
        [message.readings.num_rows for message in messages],
        pa.chunked_array([c for found in columns for c in found["pole_id"].chunks], pa.string()),
        pa.chunked_array([c for found in columns for c in found["event_ts"].chunks], TIMESTAMP),
    )


def _places(counts: list[int], pole_ids: Any, event_ts: Any) -> pa.Table:
    rows = [np.arange(count, dtype=np.int32) for count in counts]
    messages = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    columns = [messages, np.concatenate([np.empty(0, np.int32), *rows]), pole_ids, event_ts]
    return pa.table(columns, names=list(PLACE_COLUMNS))


def split_texts(
    messages: Sequence[KeptText], places: pa.Table, *, minutes: int
) -> dict[PoleMinute, list[bytes]]:
    """Lines (each with its line break) by pole and minute, in the messages' order.

    Args:
        messages: what `places["message"]` counts.
        places: the readings to keep, see the module.
        minutes: length of a file's stretch of `event_ts`, one of `ARCHIVE_MINUTES`.
    """

    def line(message: int, rows: list[int]) -> bytes:
        head, readings = messages[message]
        return head + b",".join([readings[row] for row in rows]) + b"]}\n"

    return _split(places, minutes, line)


def split_tables(
    messages: Sequence[KeptTable], places: pa.Table, *, minutes: int
) -> dict[PoleMinute, list[KeptTable]]:
    """Messages with their readings of one pole and minute; arguments as in `split_texts`."""

    def part(message: int, rows: list[int]) -> KeptTable:
        found = messages[message]
        return found._replace(readings=_take(found.readings, rows))

    return _split(places, minutes, part)


def _split(
    places: pa.Table, minutes: int, piece: Callable[[int, list[int]], _Piece]
) -> dict[PoleMinute, list[_Piece]]:
    if minutes not in ARCHIVE_MINUTES:
        raise ValueError(f"minutes={minutes}; one of {ARCHIVE_MINUTES} is meant")
    if not places.num_rows:
        return {}
    places = places.combine_chunks()
    poles = places["pole_id"].combine_chunks().dictionary_encode()
    stretch_us = minutes * 60_000_000
    stretches = places["event_ts"].cast(pa.int64()).to_numpy() // stretch_us
    keys = np.stack(
        [
            poles.indices.to_numpy(),
            stretches,
            places[MESSAGE_COLUMN].to_numpy(),
            places[ROW_COLUMN].to_numpy(),
        ]
    )
    keys = keys[:, np.lexsort(keys[::-1])]
    starts = np.flatnonzero((keys[:3, 1:] != keys[:3, :-1]).any(axis=0)) + 1
    bounds = [0, *starts.tolist(), keys.shape[1]]
    found: dict[PoleMinute, list[_Piece]] = {}
    for start, end in zip(bounds, bounds[1:], strict=False):
        pole, stretch, message = keys[:3, start].tolist()
        minute = datetime.fromtimestamp(stretch * stretch_us // 1_000_000, UTC)
        key = PoleMinute(poles.dictionary[pole].as_py(), minute)
        found.setdefault(key, []).append(piece(message, keys[3, start:end].tolist()))
    return found


def _take(table: pa.Table, rows: list[int]) -> pa.Table:
    try:
        return table.take(rows)
    except pa.ArrowNotImplementedError:
        # Arrow takes no rows of some types (unions) that an unknown column may have.
        return pa.concat_tables([table.slice(row, 1) for row in rows])


def archive_table(messages: Sequence[KeptTable]) -> pa.Table:
    """`ARROW_ARCHIVE_SCHEMA` rows of messages, for an Arrow file."""
    return pa.table(
        [
            [m.segment for m in messages],
            [m.message_id for m in messages],
            [m.publish_time for m in messages],
            [m.ingest_ts for m in messages],
            [list(m.attributes.items()) for m in messages],
            [_stream(m.readings) for m in messages],
        ],
        schema=ARROW_ARCHIVE_SCHEMA,
    )


def rows_of(archived: pa.Table) -> list[KeptTable]:
    """Messages of an archived Arrow file.

    Raises:
        ReadingRejected: a payload is no Arrow stream.
    """
    return [
        KeptTable(
            row["segment"],
            row["message_id"],
            row["publish_time"],
            row["ingest_ts"],
            dict(row["attributes"]),
            read_arrow(row["payload"]),
        )
        for row in archived.to_pylist()
    ]


def _stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def holds_arrow(message: Message) -> bool:
    """Whether a decodable message is archived as a table."""
    return message.attributes.get(Attribute.CONTENT_TYPE) == ContentType.ARROW
