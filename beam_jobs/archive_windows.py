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
import pyarrow as pa
import pyarrow.ipc
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_jobs.archive import archived
from beam_jobs.archive_places import PoleMinute, pole_minutes, split_line, split_payload
from beam_jobs.elements import MessageBatch, Validated
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
    place = pole_minutes(minutes)
    kept = archived(validated.batch, validated.refusals)
    lines: dict[PoleMinute, list[bytes]] = {}
    for line in kept.lines:
        for where, part in split_line(line, place).items():
            lines.setdefault(where, []).append(part)
    for where, parts in lines.items():
        yield Piece(where, TEXT_FORM, b"".join(parts))
    payloads: dict[PoleMinute, list[tuple[int, bytes]]] = {}
    for row, payload in enumerate(kept.rows["payload"].to_pylist()):
        for where, part in split_payload(payload, place).items():
            payloads.setdefault(where, []).append((row, part))
    column = kept.rows.column_names.index("payload")
    for where, found in payloads.items():
        rows = kept.rows.take([row for row, _ in found])
        parts = [part for _, part in found]
        yield Piece(where, ARROW_FORM, _stream(rows.set_column(column, "payload", [parts])))


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
