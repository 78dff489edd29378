"""Places in the archive: reads archived lines and rows, gives their parts by pole and minute.

A place is any value made of a reading's `pole_id` and the minute of its `event_ts`: `pole_minutes`
gives the files of the layout, `within` the hours of a replay. A line or row whose readings share
one place is given back as it is; otherwise each part holds the original text (or the rows) of its
readings, in their order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.ipc

from ami_contract.errors import LakeError, ReadingRejected
from ami_contract.lake import minute_folder
from beam_jobs.archive import READINGS_KEY, arrow_stream, split_readings, take_rows
from beam_jobs.checks import split_json
from beam_jobs.decode_arrow import as_wire, read_arrow
from beam_jobs.timestamps import parse_timestamp

ARCHIVE_MINUTES: Final = (1, 5)
"""Lengths that a file's stretch of `event_ts` may have."""

LINE_END: Final = b"]}\n"
_MINUTE_US: Final = 60_000_000
_MINUTE_CHARACTERS: Final = len("2026-03-01T11:30")

Key = TypeVar("Key", bound=Hashable)
Place = Callable[[str, int], Key]
"""Of `pole_id` and minutes since 1970."""


class PoleMinute(NamedTuple):
    """Pole and start of the minute (or five) whose readings share a file."""

    pole_id: str
    minute: datetime

    @property
    def folder(self) -> str:
        """Folder below the layout; raises ValueError when `pole_id` is no identifier."""
        return minute_folder(self.pole_id, self.minute)


class _Stamp(msgspec.Struct, gc=False):
    pole_id: str
    event_ts: str


class _Stamps(msgspec.Struct, gc=False):
    readings: list[_Stamp]


_STAMPS: Final = msgspec.json.Decoder(_Stamps)


def pole_minutes(minutes: int) -> Place[PoleMinute]:
    """Places of the layout with files of `minutes` (a divisor of 60) minutes."""

    @lru_cache(maxsize=1 << 16)
    def place(pole_id: str, minute: int) -> PoleMinute:
        start = minute - minute % minutes
        found = PoleMinute(pole_id, datetime.fromtimestamp(start * 60, UTC))
        try:
            found.folder  # noqa: B018 - a text that is no identifier must not become a path
        except ValueError as error:
            raise LakeError(f"a reading in the archive has the pole_id {pole_id!r}") from error
        return found

    return place


def within(start: datetime, end: datetime) -> Place[bool]:
    """Whether a reading lies in [start, end), both full minutes."""
    first, last = int(start.timestamp()) // 60, int(end.timestamp()) // 60

    def place(_pole_id: str, minute: int) -> bool:
        return first <= minute < last

    return place


def split_line(line: bytes, place: Place[Key]) -> dict[Key, bytes]:
    """A line of the archive by place.

    Raises:
        LakeError: it is no line of the archive.
    """
    at = line.find(READINGS_KEY)
    if at < 0 or not line.endswith(LINE_END):
        raise LakeError(f"not a line of the archive: {line[:200]!r}")
    stamps = _stamps(line)
    keys = _keys(set(stamps), place)
    if len(set(keys.values())) == 1:
        return {next(iter(keys.values())): line}
    head = line[: at + len(READINGS_KEY)]
    texts = texts_of(line[len(head) : -len(LINE_END)])
    parts: dict[Key, list[bytes]] = {}
    for stamp, text in zip(stamps, texts, strict=True):
        parts.setdefault(keys[stamp], []).append(text)
    return {key: b"".join((head, b",".join(kept), LINE_END)) for key, kept in parts.items()}


def texts_of(readings: bytes) -> list[bytes]:
    """Texts of the readings of a line, exactly as they stand there; raises LakeError."""
    whole = b"[" + readings + b"]"
    try:
        return split_readings(whole)
    except (msgspec.DecodeError, RecursionError):
        # What Python's reader takes and a strict one does not, e.g. NaN in an unknown field.
        return [part.text.encode() for part in _parts(whole)]


def _parts(whole: bytes) -> list[Any]:
    try:
        return split_json(whole)
    except ReadingRejected as error:
        raise LakeError(f"not readings of the archive ({error.detail}): {whole[:200]!r}") from error


def _stamps(line: bytes) -> list[tuple[str, str]]:
    """`pole_id` and `event_ts` of each reading; a UTC one only to the minute."""
    try:
        return [
            (s.pole_id, s.event_ts[:_MINUTE_CHARACTERS] if s.event_ts[-1] == "Z" else s.event_ts)
            for s in _STAMPS.decode(line).readings
        ]
    except (msgspec.DecodeError, RecursionError, IndexError):
        whole = b"[" + line.partition(READINGS_KEY)[2][: -len(LINE_END)] + b"]"
        try:
            return [(p.value["pole_id"], p.value["event_ts"]) for p in _parts(whole)]
        except (KeyError, TypeError) as error:
            raise LakeError(f"not readings of the archive: {whole[:200]!r}") from error


def _keys(stamps: set[tuple[str, str]], place: Place[Key]) -> dict[tuple[str, str], Key]:
    return {(pole_id, text): place(pole_id, _minute(text)) for pole_id, text in stamps}


@lru_cache(maxsize=1 << 16)
def _minute(text: str) -> int:
    """Minutes since 1970 of an `event_ts`, or of one in UTC that was cut after the minute."""
    stamp = f"{text}:00Z" if len(text) == _MINUTE_CHARACTERS else text
    found = parse_timestamp(stamp)
    if found is None:
        raise LakeError(f"{text!r} in the archive is no time")
    return int(found.timestamp()) // 60


def split_payload(payload: bytes, place: Place[Key]) -> dict[Key, bytes]:
    """An Arrow payload of the archive by place.

    Raises:
        LakeError: it is no Arrow stream of readings.
    """
    try:
        poles, stamps = _pole_and_time(payload)
    except (ReadingRejected, pa.ArrowInvalid, OSError, ValueError) as error:
        raise LakeError(f"not an Arrow payload of the archive: {error}") from error
    if not len(poles):
        return {}
    named = poles.dictionary_encode()
    minutes = stamps.cast(pa.int64()).to_numpy() // _MINUTE_US
    codes = minutes * len(named.dictionary) + named.indices.to_numpy()
    distinct, owners = np.unique(codes, return_inverse=True)
    names = named.dictionary.to_pylist()
    keys = [place(names[code % len(names)], code // len(names)) for code in distinct.tolist()]
    if len(set(keys)) == 1:
        return {keys[0]: payload}
    rows: dict[Key, list[int]] = {}
    for row, owner in enumerate(owners.tolist()):
        rows.setdefault(keys[owner], []).append(row)
    table = read_arrow(payload)
    return {key: arrow_stream(take_rows(table, np.array(kept))) for key, kept in rows.items()}


def _pole_and_time(payload: bytes) -> tuple[pa.Array, pa.Array]:
    """The two columns in the contract's types; the others are not even decompressed."""
    names = ("pole_id", "event_ts")
    with pyarrow.ipc.open_stream(pa.BufferReader(payload)) as stream:
        found = stream.schema.names
    wanted = [index for index, name in enumerate(found) if name in names]
    if sorted(found[index] for index in wanted) != sorted(names):
        raise ValueError("pole_id and event_ts are not there once each")
    options = pyarrow.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    with pyarrow.ipc.open_stream(pa.BufferReader(payload), options=options) as stream:
        table = stream.read_all()
    poles, stamps = (as_wire(name, table[name], sys.maxsize) for name in names)
    if poles.null_count or stamps.null_count:
        raise ValueError("a reading without pole_id or event_ts")
    return poles.combine_chunks(), stamps.combine_chunks()
