"""Split by pole and minute: reads messages and their valid readings, gives the archive's files.

The raw archive is laid out by `pole_id` and minute (or five) of `event_ts`, but a message may hold
several of both. The functions here are pure; a caller brings the messages and writes the files:

    texts = [kept_text(message, ingest_ts) for message in …]     # of a batch, JSON and NDJSON
    texts = [parse_line(line) for line in …]                     # of an archive file
    split_texts(texts, places, minutes=1) -> {PoleMinute: [line, …]}

    tables = [kept_table(message, ingest_ts) for message in …]   # of a batch, Arrow
    tables = rows_of(table)                                      # of an archive file
    split_tables(tables, places, minutes=1) -> {PoleMinute: [KeptTable, …]}; archive_table(…)

`places` has the columns `PLACE_COLUMNS`, one row per reading to keep: `message` is the index in the
list given, `row` the reading's index in that message, `pole_id` and `event_ts` its place. A
`Validated` batch's readings are such a table (`message` counting the batch's messages);
`places_of_texts` and `places_of_tables` read them from archived messages.

Lines and rows are those of `beam_jobs.archive`, each with a message's readings of one pole and
minute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from ami_contract.errors import LakeError
from ami_contract.lake import hour_folder
from ami_contract.reading import TIMESTAMP, ContentType
from beam_jobs.archive import ARROW_SCHEMA, READINGS_KEY, archive_line, arrow_stream, take_rows
from beam_jobs.checks import INT64_MAX, JSON_BLANKS
from beam_jobs.decode import content_type_of, read_arrow, wire_columns
from beam_jobs.elements import MESSAGE_COLUMN, ROW_COLUMN, Message
from beam_jobs.timestamps import parse_timestamps

ARCHIVE_MINUTES: Final = (1, 5)
PLACE_COLUMNS: Final = (MESSAGE_COLUMN, ROW_COLUMN, "pole_id", "event_ts")

_BLANKS: Final = JSON_BLANKS.encode()
_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")
_LINE_TAIL: Final = b"]}\n"
# What is archived was bounded when it came in.
_UNBOUNDED: Final = INT64_MAX
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
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
    """A message of Arrow readings; all but the last as in `beam_jobs.archive.ARROW_SCHEMA`."""

    message_id: str
    publish_time: datetime
    ingest_ts: datetime
    attributes: dict[str, str]
    readings: pa.Table


def kept_text(message: Message, ingest_ts: datetime) -> KeptText:
    """A decodable JSON or NDJSON message of a batch, as it goes into the archive."""
    head = archive_line(message, ingest_ts, b"").removesuffix(_LINE_TAIL)
    return KeptText(head, reading_texts(message))


def kept_table(message: Message, ingest_ts: datetime) -> KeptTable:
    """A decodable Arrow message of a batch, as it goes into the archive."""
    return KeptTable(
        message.message_id,
        message.publish_time,
        ingest_ts,
        message.attributes,
        read_arrow(message.data),
    )


def reading_texts(message: Message) -> Sequence[bytes | msgspec.Raw]:
    """Original text of each reading of a decodable JSON or NDJSON payload, in order.

    The index of a text is the reading's `row` in `Decoded` and `Refusal`. Line breaks within a
    reading become blanks.
    """
    if content_type_of(message.attributes) is ContentType.NDJSON:
        lines = (line.strip(_BLANKS) for line in message.data.split(b"\n"))
        return [line.translate(_LINE_ENDS) for line in lines if line]
    data = message.data.strip(_BLANKS).translate(_LINE_ENDS)
    return _elements(data) if data.startswith(b"[") else [data]


def _elements(array: bytes) -> Sequence[bytes | msgspec.Raw]:
    try:
        found: list[msgspec.Raw] = _ARRAY.decode(array)
    except (msgspec.DecodeError, RecursionError):
        return list(_slices(array))
    return found


def _slices(array: bytes) -> Iterator[bytes]:
    """Elements of a JSON array that the decoder takes but a strict reader does not.

    Such as NaN or half a surrogate pair in a field that the contract does not know.
    """
    depth, start = 0, 1
    for token in _TOKEN.finditer(array):
        text = token.group()
        depth += _DEPTH.get(text, 0)
        if (depth == 1 and text == b",") or depth == 0:
            yield array[start : token.start()].strip(_BLANKS)
            start = token.end()


def parse_line(line: bytes) -> KeptText:
    """A line of a `.jsonl` archive file, with or without its line break.

    Raises:
        LakeError: it is no such line.
    """
    head, key, readings = line.rstrip(b"\n").partition(READINGS_KEY)
    if not key or not readings.endswith(_LINE_TAIL[:-1]):
        raise LakeError(f"not a line of the archive: {line[:200]!r}")
    return KeptText(head + key, _elements(b"[" + readings[:-1]))


class _Place(msgspec.Struct):
    pole_id: str
    event_ts: str


_PLACES: Final = msgspec.json.Decoder(list[_Place])


def places_of_texts(messages: Sequence[KeptText]) -> pa.Table:
    """Places of all readings of archived messages, which were valid when they were archived."""
    found: list[_Place] = []
    for message in messages:
        try:
            found += _PLACES.decode(b"[" + b",".join(message.readings) + b"]")
        except (msgspec.DecodeError, RecursionError):
            found += [_place(json.loads(bytes(reading))) for reading in message.readings]
    return _places(
        [len(message.readings) for message in messages],
        pa.array([place.pole_id for place in found], pa.string()),
        parse_timestamps(pa.array([place.event_ts for place in found], pa.string())),
    )


def _place(reading: dict[str, Any]) -> _Place:
    return _Place(reading["pole_id"], reading["event_ts"])


def places_of_tables(messages: Sequence[KeptTable]) -> pa.Table:
    """Places of all readings of archived messages, which were valid when they were archived."""
    columns = [wire_columns(message.readings, _UNBOUNDED) for message in messages]
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
        return head + b",".join([readings[row] for row in rows]) + _LINE_TAIL

    return _split(places, minutes, line)


def split_tables(
    messages: Sequence[KeptTable], places: pa.Table, *, minutes: int
) -> dict[PoleMinute, list[KeptTable]]:
    """Messages with their readings of one pole and minute; arguments as in `split_texts`."""

    def part(message: int, rows: list[int]) -> KeptTable:
        found = messages[message]
        return found._replace(readings=take_rows(found.readings, np.array(rows)))

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
    for start, end in pairwise(bounds):
        pole, stretch, message = keys[:3, start].tolist()
        minute = datetime.fromtimestamp(stretch * stretch_us // 1_000_000, UTC)
        key = PoleMinute(poles.dictionary[pole].as_py(), minute)
        found.setdefault(key, []).append(piece(message, keys[3, start:end].tolist()))
    return found


def archive_table(messages: Sequence[KeptTable]) -> pa.Table:
    """`beam_jobs.archive.ARROW_SCHEMA` rows of messages, for an Arrow file."""
    return pa.table(
        [
            [m.message_id for m in messages],
            [m.publish_time for m in messages],
            [m.ingest_ts for m in messages],
            [list(m.attributes.items()) for m in messages],
            [arrow_stream(m.readings) for m in messages],
        ],
        schema=ARROW_SCHEMA,
    )


def rows_of(archived: pa.Table) -> list[KeptTable]:
    """Messages of an archived Arrow file.

    Raises:
        ReadingRejected: a payload is no Arrow stream.
    """
    return [
        KeptTable(
            row["message_id"],
            row["publish_time"],
            row["ingest_ts"],
            dict(row["attributes"]),
            read_arrow(row["payload"]),
        )
        for row in archived.to_pylist()
    ]
