"""The raw archive's form: reads messages and what was refused of them, gives what is kept.

A message becomes one JSON line that holds the original text of its readings,

    {"message_id": …, "publish_time": …, "ingest_ts": …, "attributes": {…}, "readings": [{…}, …]}

or, for an Arrow payload, one row of `ARROW_SCHEMA`. Readings that were refused are left out: they
stand in the dead letter, so that archive and dead letter are disjoint and hold all that arrived.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc

from ami_contract.reading import TIMESTAMP, ContentType
from beam_jobs.checks import SPLITTERS
from beam_jobs.decode_arrow import read_arrow
from beam_jobs.decode_parts import content_type_of, texts_of, without
from beam_jobs.elements import Message, MessageBatch, Refusal

ARROW_SCHEMA: Final[pa.Schema] = pa.schema(
    [
        ("message_id", pa.string()),
        ("publish_time", TIMESTAMP),
        ("ingest_ts", TIMESTAMP),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("payload", pa.binary()),
    ]
)
"""One row per message; `payload` is an Arrow IPC stream of its readings."""

READINGS_KEY: Final = b',"readings":['
"""Where the readings of a line begin: attribute values are strings, so nothing before has it."""

LinePieces = tuple[bytes | memoryview, ...]
"""One line of the archive in pieces."""

_SPLIT: Final = msgspec.json.Decoder(list[msgspec.Raw])
_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


class Archived(NamedTuple):
    """What a batch leaves in the archive.

    Attributes:
        pieces: what the JSON lines of the text messages are made of, some pieces a line; those of
            readings are views of the payloads, since a copy of each costs as much as its write.
        rows: `ARROW_SCHEMA`, one per Arrow message.
    """

    pieces: list[LinePieces]
    rows: pa.Table

    @property
    def lines(self) -> list[bytes]:
        """The JSON lines, put together."""
        return [b"".join(pieces) for pieces in self.pieces]


def archived(batch: MessageBatch, refusals: Iterable[Refusal]) -> Archived:
    """What the archive keeps of a batch: every message without its refused readings.

    A message of which nothing is left is left out. Line breaks between the readings of a payload
    become commas, line breaks within a reading blanks; nothing else of the text changes.
    """
    refused: dict[int, set[int | None]] = {}
    for refusal in refusals:
        rows_of_message = refused.setdefault(refusal.message, set())
        rows_of_message.update([None] if refusal.row is None else refusal.rows)
    lines: list[LinePieces] = []
    arrow: list[tuple[Message, bytes]] = []
    for index, message in enumerate(batch.messages):
        rows = refused.get(index, set())
        if None in rows:
            continue
        content_type = content_type_of(message.attributes)
        if content_type is ContentType.ARROW:
            payload = without_rows(message.data, rows) if rows else message.data
            if payload:
                arrow.append((message, payload))
        elif readings := _readings(batch, index, content_type, rows):
            lines.append(_line_pieces(message, batch.ingest_ts_of(message), readings))
    return Archived(lines, arrow_rows(arrow, batch))


def _line_pieces(message: Message, ingest_ts: datetime, readings: bytes | memoryview) -> LinePieces:
    """One line of the archive; `readings` are JSON texts of readings, separated by commas."""
    head = orjson.dumps(
        {
            "message_id": message.message_id,
            "publish_time": utc_text(message.publish_time),
            "ingest_ts": utc_text(ingest_ts),
            "attributes": message.attributes,
        }
    )
    return head[:-1] + READINGS_KEY, readings, b"]}\n"


def arrow_rows(messages: list[tuple[Message, bytes]], batch: MessageBatch) -> pa.Table:
    """Rows of `ARROW_SCHEMA` for messages of `batch` and the payloads that are kept of them."""
    return pa.table(
        [
            pa.array([message.message_id for message, _ in messages], pa.string()),
            pa.array([message.publish_time for message, _ in messages], TIMESTAMP),
            pa.array([batch.ingest_ts_of(message) for message, _ in messages], TIMESTAMP),
            _maps([message.attributes for message, _ in messages]),
            pa.array([payload for _, payload in messages], pa.binary()),
        ],
        schema=ARROW_SCHEMA,
    )


def _maps(attributes: list[dict[str, str]]) -> pa.MapArray:
    ends = np.cumsum([0, *(len(each) for each in attributes)])
    return pa.MapArray.from_arrays(
        pa.array(ends, pa.int32()),
        pa.array([name for each in attributes for name in each], pa.string()),
        pa.array([value for each in attributes for value in each.values()], pa.string()),
    )


def split_readings(readings: bytes) -> list[bytes]:
    """Texts of the readings of a JSON array, each exactly as it stands there.

    Raises:
        msgspec.DecodeError: it is no JSON array.
    """
    return [bytes(text) for text in _SPLIT.decode(readings)]


def without_rows(payload: bytes, rows: Iterable[int | None]) -> bytes:
    """An Arrow IPC stream without some of its rows, zstd-compressed; empty when none is left."""
    table = read_arrow(payload)
    keep = np.ones(table.num_rows, bool)
    keep[[row for row in rows if row is not None]] = False
    return arrow_stream(take_rows(table, np.flatnonzero(keep))) if keep.any() else b""


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Some rows (at least one) of a table whose columns may have any type."""
    try:
        return table.take(pa.array(rows))
    except pa.ArrowNotImplementedError:
        # Arrow can only slice some types (unions, views) that an unknown column may have.
        stretches = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return pa.concat_tables(
            [table.slice(int(stretch[0]), len(stretch)) for stretch in stretches]
        )


def arrow_stream(table: pa.Table) -> bytes:
    """A table as Arrow IPC stream, zstd-compressed."""
    sink = pa.BufferOutputStream()
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def utc_text(instant: datetime) -> str:
    """RFC 3339 with `Z` and, where there are any, microseconds."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _readings(
    batch: MessageBatch, index: int, content_type: ContentType, refused: set[Any]
) -> bytes | memoryview:
    data = batch.messages[index].data
    if not refused and content_type is ContentType.JSON:
        text = _one_line(data.strip())
        return memoryview(text)[1:-1] if text.startswith(b"[") else text
    texts = texts_of(batch, index)
    if texts is None:
        texts = [part.text.encode() for part in SPLITTERS[content_type](data)]
    return _one_line(b",".join(without(texts, refused)))


def _one_line(text: bytes) -> bytes:
    """`text` with blanks for line breaks."""
    return text.translate(_LINE_ENDS) if b"\n" in text or b"\r" in text else text
