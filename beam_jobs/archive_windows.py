"""Cloud archive: reads `Validated` batches, gives files by pole and minute of `event_ts`.

    <root>/pole_id=…/dt=YYYY-MM-DD/hr=HH/min=MM/<window>-<pane>-<digest>.jsonl (or .arrow)

A window is not one of `event_ts`, whose late readings it would have to drop some day, but of the
time at which a minute's file falls due: a grace after the minute's end, or the publish time of
readings that come later than that. So a minute whose readings arrive in time is one file, what
comes later makes another, and nothing is ever late for its window.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from ami_contract.reading import ContentType
from beam_jobs.archive_split import (
    KeptTable,
    KeptText,
    PoleMinute,
    archive_table,
    kept_table,
    kept_text,
    split_tables,
    split_texts,
)
from beam_jobs.decode import content_type_of
from beam_jobs.elements import MESSAGE_COLUMN, MessageBatch, Validated
from beam_jobs.windowed_files import FileKey, WriteWindowedFiles

GRACE: Final = timedelta(seconds=30)
TEXT_FORM: Final = "jsonl"
ARROW_FORM: Final = "arrow"


class Piece(NamedTuple):
    """Readings of one batch for one file.

    Attributes:
        place: pole and minute.
        form: the file's extension.
        content: lines, or an Arrow IPC stream of archive rows.
    """

    place: PoleMinute
    form: str
    content: bytes


def pieces_of(validated: Validated, *, minutes: int) -> Iterator[Piece]:
    """What a batch leaves in the archive, by pole and minute.

    Args:
        validated: the batch.
        minutes: length of a file's stretch of `event_ts`, 1 or 5.
    """
    texts: list[KeptText] = []
    tables: list[KeptTable] = []
    arrow = np.zeros(len(validated.batch.messages), bool)
    positions = np.zeros(len(validated.batch.messages), np.int32)
    for index in pc.unique(validated.readings[MESSAGE_COLUMN]).to_pylist():
        message = validated.batch.messages[index]
        ingest_ts = validated.batch.ingest_ts_of(message)
        arrow[index] = content_type_of(message.attributes) is ContentType.ARROW
        positions[index] = len(tables if arrow[index] else texts)
        if arrow[index]:
            tables.append(kept_table(message, ingest_ts))
        else:
            texts.append(kept_text(message, ingest_ts))
    owners = validated.readings[MESSAGE_COLUMN].to_numpy()
    column = validated.readings.column_names.index(MESSAGE_COLUMN)
    places = validated.readings.set_column(
        column, MESSAGE_COLUMN, pa.array(positions[owners], pa.int32())
    )
    lines = split_texts(texts, places.filter(pa.array(~arrow[owners])), minutes=minutes)
    for place, found in lines.items():
        yield Piece(place, TEXT_FORM, b"".join(found))
    parts = split_tables(tables, places.filter(pa.array(arrow[owners])), minutes=minutes)
    for place, part in parts.items():
        yield Piece(place, ARROW_FORM, _stream(archive_table(part)))


def _stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def join_arrow(streams: Iterable[bytes]) -> bytes:
    """One Arrow IPC file of the archive rows of several streams."""
    tables = [pa.ipc.open_stream(stream).read_all() for stream in sorted(streams)]
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def due(place: PoleMinute, batch: MessageBatch, *, minutes: int) -> datetime:
    """When the file falls due that takes the batch's readings of `place`."""
    published = max(message.publish_time for message in batch.messages)
    return max(place.minute + timedelta(minutes=minutes) + GRACE, published)


class ArchiveByMinute(beam.PTransform):
    """`Validated` batches → paths of archive files.

    Args:
        root: folder or `gs://bucket/prefix`.
        minutes: length of a file's stretch of `event_ts`, 1 or 5.
    """

    def __init__(self, root: str, minutes: int) -> None:
        super().__init__()
        self._root = root
        self._minutes = minutes

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Validated`."""
        minutes = self._minutes

        def keyed(validated: Validated) -> Iterator[TimestampedValue]:
            for piece in pieces_of(validated, minutes=minutes):
                instant = due(piece.place, validated.batch, minutes=minutes)
                yield TimestampedValue(
                    ((piece.place.folder, piece.form), piece.content),
                    Timestamp.from_utc_datetime(instant),
                )

        return (
            pcoll
            | "Split by minute" >> beam.FlatMap(keyed).with_output_types(tuple[FileKey, bytes])
            | "Write files"
            >> WriteWindowedFiles(
                self._root, 60 * minutes, "archive", join={ARROW_FORM: join_arrow}
            )
        )
