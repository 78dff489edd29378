"""Reads messages that a gateway hands over; keeps them on disk until they are acknowledged.

A spool is a folder of append-only segments, each named after the ordinal number of its first
message, with a file of acknowledged numbers beside it:

    lock
    overflow.csv              meter_id, seq, event_ts of every reading dropped for want of room
    00000000000000000420.seg  header, attributes (JSON), payload; again and again
    00000000000000000420.ack  8-byte numbers, in the order of their acknowledgement

A message is in the file when `append` returns, so killing the process loses none of them; `sync`
makes them outlive a power cut too. A segment goes when all of it is acknowledged. The one with the
newest message stays while the folder does: it tells a restarted run how far it had come.
"""

from __future__ import annotations

import csv
import fcntl
import os
import shutil
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from ami_contract.errors import LakeError, SettingsError
from ami_contract.reading import Attribute
from simulator.gateway import Message
from simulator.publisher import reading_lines
from simulator.truth import OVERFLOW_COLUMNS

OVERFLOW: Final = "overflow.csv"
_LOCK: Final = "lock"
_HEADER: Final = struct.Struct("<4sIQqIII")
"""Mark, CRC-32 of all that follows it, ordinal, due (µs), readings, length of each part."""

_MARK: Final = b"AMS1"
_CRC_FROM: Final = 8
_NUMBER: Final = struct.Struct("<Q")
_MOST_SEGMENT_BYTES: Final = 8 * 1024 * 1024
_SEGMENTS_AT_LEAST: Final = 8
"""A full spool drops its oldest segment, so at most this share of what it holds at once."""


@dataclass(frozen=True)
class Entry:
    """A message that waits.

    Attributes:
        ordinal: its number among all messages of the run, from 0.
        message: what to publish.
    """

    ordinal: int
    message: Message


@dataclass(frozen=True)
class Taken:
    """The newest message that a spool has taken.

    Attributes:
        due_us: when it was due (µs since 1970).
        batch_id: its name.
    """

    due_us: int
    batch_id: str


@dataclass
class _Segment:
    path: Path
    first: int
    size: int = 0
    records: int = 0
    waiting: int = 0
    readings: int = 0
    first_due_us: int = 0
    last_due_us: int = 0
    newest: Taken | None = None
    known_acks: set[int] = field(default_factory=set)

    @property
    def acks(self) -> Path:
        return self.path.with_suffix(".ack")


class Spool:
    """A queue of messages on disk; safe to use from several threads.

    Args:
        folder: of this spool; made when missing.
        max_bytes: above this the oldest messages are dropped, counted and listed; None: never.
        max_age_s: likewise for messages due this long before the newest (s); None: never.

    Raises:
        SettingsError: another process has it open.
        LakeError: the folder cannot be read or written.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int | None = None, max_age_s: float | None = None
    ) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_age_us = None if max_age_s is None else round(max_age_s * 1_000_000)
        self._segment_bytes = min(_MOST_SEGMENT_BYTES, (max_bytes or 1 << 62) // _SEGMENTS_AT_LEAST)
        self._guard = threading.RLock()
        self._segments: deque[_Segment] = deque()
        self._out: dict[int, tuple[int, int]] = {}  # ordinal: first of its segment, due
        self._taken_due_us = 0
        self._adrift: dict[int, int] = {}  # readings of messages under way without a segment
        self._handle = self._ack_handle = -1
        self._ack_first = -1
        self._reader: tuple[int, int] = (-1, -1)  # first ordinal of a segment, its handle
        self._is_dirty = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            fcntl.flock(self._lock_handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_handle)
            raise SettingsError(
                f"{folder}: another process sends these messages; wait until it ends or stop it"
            ) from None
        try:
            self._recover()
        except OSError as error:
            os.close(self._lock_handle)
            raise _unusable(folder, error) from error
        except LakeError:
            os.close(self._lock_handle)
            raise

    def _recover(self) -> None:
        self.overflowed = sum(1 for _ in self.overflow())
        paths = sorted(self.folder.glob("*.seg"))
        for path in paths:
            self._segments.append(self._scan(path, is_newest=path == paths[-1]))
        for acks in self.folder.glob("*.ack"):
            if not acks.with_suffix(".seg").exists():
                acks.unlink()
        if not self._segments:
            self._segments.append(self._new_segment(0))
        newest = self._segments[-1]
        self.next_ordinal = newest.first + newest.records
        self.last_due_us = max(segment.last_due_us for segment in self._segments)
        self.newest = next((s.newest for s in reversed(self._segments) if s.newest), None)
        self._handle = _open_for_append(newest.path)
        self._cursor = (self._segments[0].first, 0)
        for segment in list(self._segments):
            self._discard_if_done(segment)

    def _scan(self, path: Path, *, is_newest: bool) -> _Segment:
        """State of a segment; what a kill left half-written at the end of the newest is cut off."""
        segment = _Segment(path, int(path.stem))
        if segment.acks.exists():
            content = segment.acks.read_bytes()
            whole = len(content) // _NUMBER.size * _NUMBER.size
            if whole < len(content):
                os.truncate(segment.acks, whole)
            segment.known_acks = {n for (n,) in _NUMBER.iter_unpack(content[:whole])}
        newest: tuple[int, bytes] | None = None
        with path.open("rb") as file:
            while True:
                head = file.read(_HEADER.size)
                if len(head) < _HEADER.size:
                    break
                mark, crc, ordinal, due_us, readings, *lengths = _HEADER.unpack(head)
                body = file.read(sum(lengths))
                if mark != _MARK or len(body) < sum(lengths):
                    break
                if zlib.crc32(body, zlib.crc32(head[_CRC_FROM:])) != crc:
                    break
                self._count(segment, due_us, readings, len(head) + len(body))
                newest = due_us, body[: lengths[0]]
                if ordinal in segment.known_acks:
                    segment.waiting -= 1
                    segment.readings -= readings
        if path.stat().st_size > segment.size:
            if not is_newest:
                raise LakeError(
                    f"{path} is damaged after byte {segment.size}; remove the file to give up the "
                    "messages in it, then start again"
                )
            os.truncate(path, segment.size)
        if newest is not None:
            due_us, attributes = newest
            segment.newest = Taken(due_us, str(orjson.loads(attributes)[Attribute.BATCH_ID]))
        return segment

    @staticmethod
    def _count(segment: _Segment, due_us: int, readings: int, size: int) -> None:
        if not segment.records:
            segment.first_due_us = due_us
        segment.records += 1
        segment.waiting += 1
        segment.readings += readings
        segment.size += size
        segment.last_due_us = max(segment.last_due_us, due_us)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        with self._guard:
            return sum(segment.size for segment in self._segments)

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged."""
        with self._guard:
            return sum(segment.waiting for segment in self._segments) + len(self._adrift)

    @property
    def readings(self) -> int:
        """Reading copies in the messages that are not acknowledged."""
        with self._guard:
            on_disk = sum(segment.readings for segment in self._segments)
            return on_disk + sum(self._adrift.values())

    @property
    def depth_s(self) -> float:
        """How much older the oldest waiting message is than the newest, by due time (s)."""
        with self._guard:
            if not self.waiting:
                return 0.0
            # Messages are taken in order, so the first one that is out is the oldest.
            _, due_us = next(iter(self._out.values()), (0, self._taken_due_us))
            return (self.last_due_us - (due_us or self._segments[0].first_due_us)) / 1e6

    @property
    def fill(self) -> float:
        """Share of its bounds that is taken: 1 is full."""
        with self._guard:
            by_size = self.size / self._max_bytes if self._max_bytes else 0.0
            by_age = self.depth_s * 1e6 / self._max_age_us if self._max_age_us else 0.0
            return max(by_size, by_age)

    def append(self, message: Message) -> None:
        """Keep `message`; may drop the oldest. Raises LakeError when the disk refuses."""
        attributes = orjson.dumps(message.attributes)
        with self._guard:
            tail = struct.pack(
                "<QqIII",
                self.next_ordinal,
                message.due_us,
                message.readings,
                len(attributes),
                len(message.data),
            )
            crc = zlib.crc32(message.data, zlib.crc32(attributes, zlib.crc32(tail)))
            record = b"".join((_MARK, crc.to_bytes(4, "little"), tail, attributes, message.data))
            newest = self._segments[-1]
            if newest.records and self._is_full(newest, len(record), message.due_us):
                newest = self._roll()
            try:
                _write(self._handle, record)
            except OSError as error:
                os.ftruncate(self._handle, newest.size)
                raise _unusable(self.folder, error) from error
            self._count(newest, message.due_us, message.readings, len(record))
            self.last_due_us = max(self.last_due_us, message.due_us)
            self.next_ordinal += 1
            if newest.records == 1:
                for segment in list(self._segments):
                    self._discard_if_done(segment)
            self._is_dirty = True
            self._drop_excess()

    def _is_full(self, segment: _Segment, more: int, due_us: int) -> bool:
        if segment.size + more > self._segment_bytes:
            return True
        return (
            self._max_age_us is not None
            and (due_us - segment.first_due_us) * _SEGMENTS_AT_LEAST > self._max_age_us
        )

    def _new_segment(self, first: int) -> _Segment:
        return _Segment(self.folder / f"{first:020d}.seg", first)

    def _roll(self) -> _Segment:
        segment = self._new_segment(self.next_ordinal)
        handle = _open_for_append(segment.path)
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        os.close(self._handle)
        self._handle = handle
        self._segments.append(segment)
        return segment

    def _discard_if_done(self, segment: _Segment) -> None:
        newest = self._segments[-1]
        # Until the newest segment has a message, the one before it holds the newest message.
        if segment.waiting or segment is newest or not newest.records:
            return
        self._forget(segment)

    def _forget(self, segment: _Segment) -> None:
        if self._cursor[0] == segment.first:
            self._move_cursor_past(segment)
        self._segments.remove(segment)
        if self._ack_first == segment.first:
            os.close(self._ack_handle)
            self._ack_first = self._ack_handle = -1
        segment.path.unlink(missing_ok=True)
        segment.acks.unlink(missing_ok=True)

    def _move_cursor_past(self, segment: _Segment) -> None:
        following = self._segments[self._segments.index(segment) + 1]
        self._cursor = (following.first, 0)

    def _drop_excess(self) -> None:
        while len(self._segments) > 1:
            oldest = self._segments[0]
            too_large = self._max_bytes is not None and self.size > self._max_bytes
            too_old = (
                self._max_age_us is not None
                and self.last_due_us - oldest.last_due_us > self._max_age_us
            )
            if not (too_large or too_old):
                return
            self._drop(oldest)

    def _drop(self, segment: _Segment) -> None:
        """Give up what waits in `segment`, but for messages that are being published just now."""
        acked = self._acks_of(segment)
        rows: list[tuple[str, str, str]] = []
        for entry in self._records(segment):
            if entry.ordinal in acked:
                continue
            if entry.ordinal in self._out:
                self._adrift[entry.ordinal] = entry.message.readings
            else:
                rows += _readings_of(entry.message)
                self.overflowed += entry.message.readings
        if rows:
            try:
                with (self.folder / OVERFLOW).open("a", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows(rows)
            except OSError as error:
                raise _unusable(self.folder, error) from error
        self._forget(segment)

    def overflow(self) -> Iterator[tuple[str, ...]]:
        """(meter_id, seq, event_ts) of every reading dropped; empty text where it is unreadable."""
        path = self.folder / OVERFLOW
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                yield from (tuple(row) for row in csv.reader(file) if len(row) == 3)

    def _acks_of(self, segment: _Segment) -> set[int]:
        if not segment.acks.exists():
            return set()
        content = segment.acks.read_bytes()
        return {n for (n,) in _NUMBER.iter_unpack(content[: len(content) // 8 * 8])}

    def _records(self, segment: _Segment) -> Iterator[Entry]:
        offset = 0
        while offset < segment.size:
            entry, offset = self._read(segment, offset)
            yield entry

    def _read(self, segment: _Segment, offset: int) -> tuple[Entry, int]:
        first, handle = self._reader
        if first != segment.first:
            if handle >= 0:
                os.close(handle)
            handle = os.open(segment.path, os.O_RDONLY)
            self._reader = (segment.first, handle)
        _, _, ordinal, due_us, readings, attributes, data = _HEADER.unpack(
            os.pread(handle, _HEADER.size, offset)
        )
        offset += _HEADER.size
        body = os.pread(handle, attributes + data, offset)
        message = Message(body[attributes:], orjson.loads(body[:attributes]), readings, due_us)
        return Entry(ordinal, message), offset + attributes + data

    def take(self) -> Entry | None:
        """The oldest message that was not taken yet; None: all were. Raises LakeError."""
        with self._guard:
            try:
                while True:
                    first, offset = self._cursor
                    segment = next(s for s in self._segments if s.first == first)
                    if offset >= segment.size:
                        if segment is self._segments[-1]:
                            return None
                        self._move_cursor_past(segment)
                        continue
                    entry, offset = self._read(segment, offset)
                    self._cursor = (first, offset)
                    if entry.ordinal not in segment.known_acks:
                        self._taken_due_us = entry.message.due_us
                        self._out[entry.ordinal] = (segment.first, self._taken_due_us)
                        return entry
            except OSError as error:
                raise _unusable(self.folder, error) from error

    def acknowledge(self, entry: Entry) -> None:
        """`entry` is settled and need not be kept. Raises LakeError."""
        with self._guard:
            first, _ = self._out.pop(entry.ordinal)
            self._adrift.pop(entry.ordinal, None)
            segment = next((s for s in self._segments if s.first == first), None)
            if segment is None:
                return  # its segment was dropped while it was being published
            if self._ack_first != first:
                if self._ack_handle >= 0:
                    os.close(self._ack_handle)
                self._ack_handle = _open_for_append(segment.acks)
                self._ack_first = first
            try:
                _write(self._ack_handle, _NUMBER.pack(entry.ordinal))
            except OSError as error:
                raise _unusable(self.folder, error) from error
            segment.waiting -= 1
            segment.readings -= entry.message.readings
            self._discard_if_done(segment)

    def sync(self) -> None:
        """Make what was appended outlive a power cut. Raises LakeError."""
        with self._guard:
            if not self._is_dirty:
                return
            self._is_dirty = False
            handle = os.dup(self._handle)
        try:
            os.fsync(handle)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        finally:
            os.close(handle)

    def close(self) -> None:
        """Release files and lock; what waits stays."""
        with self._guard:
            for handle in (self._handle, self._ack_handle, self._reader[1], self._lock_handle):
                if handle >= 0:
                    os.close(handle)
            self._handle = self._ack_handle = self._lock_handle = -1
            self._reader = (-1, -1)

    def remove(self) -> None:
        """Delete the folder and release the lock; all of it must have been settled."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def set_aside(self) -> None:
        """Close, and leave what waits to whoever looks for orphans.

        A run that was stopped before its end closed its last messages earlier than it otherwise
        would, so the same run started again must not count on from them.
        """
        number = 1
        while (target := self.folder.with_name(f"{self.folder.name}.stopped-{number}")).exists():
            number += 1
        try:
            self.folder.rename(target)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        finally:
            self.close()


def orphans(folder: Path) -> list[Spool]:
    """Spools beside `folder` that no living process holds, opened, oldest first."""
    found = []
    for sibling in sorted(folder.parent.glob("*/")) if folder.parent.is_dir() else []:
        if sibling == folder or not (sibling / _LOCK).exists():
            continue
        try:
            found.append(Spool(sibling))
        except SettingsError:
            continue
    return found


def _open_for_append(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unusable(path.parent, error) from error


def _write(handle: int, content: bytes) -> None:
    written = os.write(handle, content)
    while written < len(content):
        written += os.write(handle, content[written:])


def _readings_of(message: Message) -> list[tuple[str, str, str]]:
    rows = []
    for line in reading_lines(message):
        try:
            reading = orjson.loads(line)
        except orjson.JSONDecodeError:
            reading = {"meter_id": message.attributes.get(Attribute.METER_ID, "")}
        rows.append(tuple(str(reading.get(name, "")) for name in OVERFLOW_COLUMNS))
    return rows  # type: ignore[return-value]


def _unusable(folder: Path, error: OSError) -> LakeError:
    return LakeError(
        f"the spool {folder} cannot be used: {error.strerror or error}; free space or mend its "
        "permissions, then start again"
    )
