"""The archive's layout: reads segments, gives one file per pole and closed minute of `event_ts`.

    segments/dt=…/hr=…/<segment>.{jsonl,arrow}                            by arrival
    raw/pole_id=…/dt=…/hr=…/min=…/<round>.{jsonl,jsonl.gz,arrow}          by event_ts

A round takes segments, writes the files of the minutes that are closed and one *carry* segment with
the readings of those still open. Its plan `rounds/<round>.json` names what it takes:

    plan written → outputs written → plan renamed to <round>.committed.json → segments deleted →
    committed plan deleted

What a round has written does not count before that rename, and what it took does not count after
it; a round that was cut off is done again under the same names. So the files that `read_archive`
gives hold every reading exactly once at any moment.
"""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.ipc

from ami_contract.errors import AmiError, LakeError, LockHeldError
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder, hour_of_folder, hours_between
from ami_contract.reading import MAX_EVENT_LEAD
from ami_store.files import TEMPORARY_PREFIX, atomic_path, fsync_folder, locked, write_bytes
from beam_jobs.archive import ARROW_SCHEMA
from beam_jobs.archive_places import Key, Place, PoleMinute, pole_minutes, split_line, split_payload
from beam_jobs.sinks import write_arrow_file

log = logging.getLogger("ami.archive")

LATENESS: Final = timedelta(seconds=120)
"""A minute is closed when this has passed since its end."""

ROUND_BYTES: Final = 256 * 1024 * 1024
"""Text that a round holds in memory at most, in bytes, if no single segment is longer."""

_ARROW_EXPANSION: Final = 8
_COMMITTED: Final = ".committed.json"
_GZIP_LEVEL: Final = 5
_READERS_PAUSE_S: Final = 0.2

Minutes = Literal[1, 5]


@dataclass(frozen=True)
class Layout:
    """How files are laid out.

    Attributes:
        minutes: of `event_ts` that share a file.
        gzip: whether JSON Lines are compressed.
    """

    minutes: Minutes = 5
    gzip: bool = False


@dataclass(frozen=True)
class Plan:
    """What a round does; all its outputs follow from it.

    Attributes:
        name: of the round and its files; sorts by time.
        now: ISO 8601; decides which minutes are closed.
        minutes, gzip: see `Layout`.
        inputs: segments it takes, relative to the archive.
    """

    name: str
    now: str
    minutes: Minutes
    gzip: bool
    inputs: list[str]

    @property
    def clock(self) -> datetime:
        """`now` as a time."""
        return datetime.fromisoformat(self.now)


@dataclass
class Report:
    """What rounds did.

    Attributes:
        rounds: how many.
        segments: taken by them.
        files: written for closed minutes.
        lines: messages (or parts of messages) in those.
        carried: messages (or parts) whose minutes are still open.
    """

    rounds: int = 0
    segments: int = 0
    files: int = 0
    lines: int = 0
    carried: int = 0


@contextmanager
def read_archive(data: DataDir) -> Iterator[None]:
    """Nothing that counts in archive and dead letter is committed or deleted inside the block.

    New segments may arrive all the same. Raises LakeError when the lock cannot be made.
    """
    with locked(data.archive_lock, shared=True):
        yield


@contextmanager
def commit_archive(data: DataDir) -> Iterator[None]:
    """Alone with archive and dead letter: no reader is amid them."""
    with locked(data.archive_lock):
        yield


def archive_files(
    data: DataDir, start: datetime | None = None, end: datetime | None = None
) -> list[Path]:
    """Files that hold each archived reading exactly once, segments first, in a stable order.

    Within `read_archive` they stay until they are read.

    Args:
        data: where the archive lies.
        start, end: leave out files that cannot hold readings of the UTC hours that meet
            [start, end); None: no bound.
    """
    # Files first, plans second: whoever wrote a file that does not count had planned it before.
    segments = [path for path in segment_files(data) if _may_hold(path, start)]
    laid_out = _laid_out(data, start, end)
    unfinished, taken = _plans(data)
    hidden = {plan.name for plan in unfinished} | unfinished_replays(data)
    gone = {name for plan in taken for name in plan.inputs}
    return [
        path
        for path in segments
        if _stem(path) not in hidden and str(path.relative_to(data.archive)) not in gone
    ] + [path for path in laid_out if _stem(path) not in hidden]


def segment_files(data: DataDir) -> list[Path]:
    """Every segment file there is, oldest hour of arrival first."""
    return sorted((data.archive / "segments").glob("dt=*/hr=*/[!.]*"))


def _may_hold(segment: Path, start: datetime | None) -> bool:
    """Whether a segment can hold readings from `start` on: none lies far ahead of its arrival."""
    if start is None:
        return True
    try:
        arrived = hour_of_folder(segment.parent)
    except ValueError as error:
        raise LakeError(f"{segment} is no segment of this archive; move it away") from error
    return arrived + HOUR + MAX_EVENT_LEAD > start


def _laid_out(data: DataDir, start: datetime | None, end: datetime | None) -> list[Path]:
    if start is None or end is None:
        first = floor_hour(start) if start else None
        return [
            path
            for path in sorted(data.archive_raw.glob("pole_id=*/dt=*/hr=*/min=*/[!.]*"))
            if (first is None or hour_of_folder(path.parent.parent) >= first)
            and (end is None or hour_of_folder(path.parent.parent) < end)
        ]
    folders = [hour_folder(hour) for hour in hours_between(start, end)]
    return [
        path
        for pole in sorted(data.archive_raw.glob("pole_id=*"))
        for folder in folders
        for path in sorted((pole / folder).glob("min=*/[!.]*"))
    ]


def _stem(path: Path) -> str:
    """Name of the round or segment that wrote a file; none has a dot in it."""
    return path.name.partition(".")[0]


def _plans(data: DataDir) -> tuple[list[Plan], list[Plan]]:
    """Plans of rounds in hand, by whether their outputs count: not yet, already."""
    planned: list[Plan] = []
    committed: list[Plan] = []
    for path in sorted(data.archive_rounds.glob("[!.]*.json")):
        try:
            plan = Plan(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            continue  # it was finished meanwhile
        except (ValueError, TypeError) as error:
            raise LakeError(f"{path} is damaged ({error}); restore it from a backup") from error
        (committed if path.name.endswith(_COMMITTED) else planned).append(plan)
    return planned, committed


def unfinished_replays(data: DataDir) -> set[str]:
    """Segments of dead-letter replays that are not committed; their letters still count."""
    return {
        path.stem
        for path in data.deadletter_replaying.glob("[!.]*.json")
        if not (data.deadletter_replayed / path.name).exists()
    }


def _unreadable(path: Path, error: Exception) -> LakeError:
    return LakeError(
        f"cannot read {path}: {error}; restore it from a backup, or move it away to go on without "
        "its readings"
    )


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines of a `.jsonl` or `.jsonl.gz` file of the archive.

    Raises:
        LakeError: it cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from error


def read_rows(path: Path) -> pa.Table:
    """Rows (`ARROW_SCHEMA`) of an `.arrow` file of the archive.

    Raises:
        LakeError: it is none.
    """
    try:
        with pyarrow.ipc.open_file(path) as file:
            return file.read_all().cast(ARROW_SCHEMA)
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def lay_out(
    data: DataDir,
    layout: Layout,
    *,
    now: datetime,
    everything: bool = False,
    round_bytes: int = ROUND_BYTES,
    progress: Callable[[Report], None] = lambda report: None,
    stop: threading.Event | None = None,
) -> Report:
    """Lay out the segments of closed arrival time; a round that was cut off is finished first.

    Args:
        data: where the archive lies.
        layout: form of the files.
        now: clock.
        everything: also take segments when no minute has been closed since the last round.
        round_bytes: text that a round holds in memory at most.
        progress: called after every round.
        stop: ends the work after the round in hand.

    Returns:
        What was done; nothing when another process is at it.

    Raises:
        LakeError: a file cannot be read or written; what counted before counts still.
    """
    report, stop = Report(), stop or threading.Event()
    try:
        with locked(data.archive_rounds_lock, wait=False, held=_BUSY):
            _remove_leftovers(data.archive_rounds, "*")
            planned, committed = _plans(data)
            if committed:
                with commit_archive(data):
                    for plan in committed:
                        _remove_inputs(data, plan)
            for plan in planned:
                if not _run(data, plan, report, stop):
                    return report
                progress(report)
            for inputs in _chunks(_due(data, layout, now, everything=everything), round_bytes):
                if stop.is_set() or not _run(
                    data, _planned(data, layout, now, inputs), report, stop
                ):
                    break
                progress(report)
    except LockHeldError as error:
        log.info("%s", error)
    return report


_BUSY: Final = "another process is laying out the archive; leave it to that one"


def _due(data: DataDir, layout: Layout, now: datetime, *, everything: bool) -> list[Path]:
    """Segments to take: all, once minutes are closed that were open when the oldest came.

    Later ones may hold readings of those minutes too; what they hold of open ones is carried.
    """
    waiting = unfinished_replays(data)
    found = [path for path in segment_files(data) if _stem(path) not in waiting]
    arrivals = {path: path.stat().st_mtime for path in found}
    boundary = (now - LATENESS).timestamp()
    boundary -= boundary % (layout.minutes * 60)
    if not everything and not any(arrived < boundary for arrived in arrivals.values()):
        return []
    return sorted(found, key=lambda path: (arrivals[path], path.name))


def _chunks(segments: Iterable[Path], most_bytes: int) -> Iterator[list[Path]]:
    chunk: list[Path] = []
    held = 0
    for path in segments:
        size = path.stat().st_size * (_ARROW_EXPANSION if path.suffix == ".arrow" else 1)
        if chunk and held + size > most_bytes:
            yield chunk
            chunk, held = [], 0
        chunk.append(path)
        held += size
    if chunk:
        yield chunk


def _planned(data: DataDir, layout: Layout, now: datetime, inputs: list[Path]) -> Plan:
    now = now.astimezone(UTC)
    plan = Plan(
        f"{now:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}",
        now.isoformat(),
        layout.minutes,
        layout.gzip,
        [str(path.relative_to(data.archive)) for path in inputs],
    )
    write_bytes(_plan_file(data, plan), json.dumps(asdict(plan)).encode())
    return plan


def _plan_file(data: DataDir, plan: Plan) -> Path:
    return data.archive_rounds / f"{plan.name}.json"


def _committed_file(data: DataDir, plan: Plan) -> Path:
    return data.archive_rounds / f"{plan.name}{_COMMITTED}"


def _run(data: DataDir, plan: Plan, report: Report, stop: threading.Event) -> bool:
    """Do a round; False when it was told to stop while readers held it up."""
    sorted_out = _sort_out(data, plan)
    _write(data, plan, sorted_out)
    while True:
        try:
            with locked(data.archive_lock, wait=False):
                _plan_file(data, plan).replace(_committed_file(data, plan))
                fsync_folder(data.archive_rounds)
                _remove_inputs(data, plan)
            break
        except LockHeldError:
            if stop.wait(_READERS_PAUSE_S):
                return False
    report.rounds += 1
    report.segments += len(plan.inputs)
    report.files += sum(
        bool(held) for kept in sorted_out.closed.values() for held in (kept.lines, kept.rows)
    )
    report.lines += sum(len(kept) for kept in sorted_out.closed.values())
    report.carried += len(sorted_out.open)
    return True


def _remove_inputs(data: DataDir, plan: Plan) -> None:
    """Delete what a committed round took, then its plan, in this order also on the disk."""
    folders = set()
    for name in plan.inputs:
        path = data.archive / name
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        if folder.exists():
            fsync_folder(folder)
    _committed_file(data, plan).unlink(missing_ok=True)


@dataclass
class _Kept:
    lines: list[bytes] = field(default_factory=list)
    rows: list[pa.Table] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines) + len(self.rows)


@dataclass
class _SortedOut:
    closed: dict[PoleMinute, _Kept] = field(default_factory=dict)
    open: _Kept = field(default_factory=_Kept)


_OPEN: Final = None


def _sort_out(data: DataDir, plan: Plan) -> _SortedOut:
    """Readings of a plan's inputs by where they go."""
    place = _closed_places(plan)
    found = _SortedOut()
    for name in plan.inputs:
        path = data.archive / name
        try:
            if path.suffix == ".arrow":
                for key, row in _rows_by(read_rows(path), place):
                    _slot(found, key).rows.append(row)
            else:
                for line in read_lines(path):
                    for key, part in split_line(line, place).items():
                        _slot(found, key).lines.append(part)
        except LakeError as error:
            raise LakeError(f"{path}: {error}; mend the segment or move it away") from error
    return found


def _slot(found: _SortedOut, key: PoleMinute | None) -> _Kept:
    return found.open if key is None else found.closed.setdefault(key, _Kept())


def _closed_places(plan: Plan) -> Place[PoleMinute | None]:
    of_layout = pole_minutes(plan.minutes)
    last = int((plan.clock - LATENESS).timestamp()) // 60 - plan.minutes

    def place(pole_id: str, minute: int) -> PoleMinute | None:
        return of_layout(pole_id, minute) if minute - minute % plan.minutes <= last else _OPEN

    return place


def _rows_by(table: pa.Table, place: Place[Key]) -> Iterator[tuple[Key, pa.Table]]:
    at = table.schema.get_field_index("payload")
    for index, payload in enumerate(table["payload"]):
        row = table.slice(index, 1)
        whole = payload.as_py()
        for key, part in split_payload(whole, place).items():
            changed = row.set_column(at, ARROW_SCHEMA.field(at), pa.array([part], pa.binary()))
            yield key, row if part is whole else changed


def _write(data: DataDir, plan: Plan, found: _SortedOut) -> None:
    """All outputs of a round, durable on return."""
    folders: set[Path] = set()
    for place, kept in found.closed.items():
        folder = data.archive_raw / place.folder
        _write_files(folder / plan.name, kept, compress=plan.gzip)
        folders.add(folder)
    if found.open:
        folder = data.archive / "segments" / hour_folder(plan.clock)
        _write_files(folder / plan.name, found.open, compress=False)
        folders.add(folder)
    for folder in _with_parents(folders, data.archive):
        fsync_folder(folder)


def _with_parents(folders: set[Path], top: Path) -> set[Path]:
    found = set()
    for folder in folders:
        while folder not in found and folder != top.parent:
            found.add(folder)
            folder = folder.parent
    return found


def _remove_leftovers(folder: Path, name: str) -> None:
    """Temporary files of a killed round; only one works at a time."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}{name}"):
        path.unlink(missing_ok=True)


def _write_files(stem: Path, kept: _Kept, *, compress: bool) -> None:
    _remove_leftovers(stem.parent, f"*-{stem.name}.*")
    if kept.lines:
        content = kept.lines
        if compress:
            content = [gzip.compress(b"".join(content), _GZIP_LEVEL, mtime=0)]
        target = stem.with_name(f"{stem.name}.jsonl{'.gz' if compress else ''}")
        with atomic_path(target, durable=False) as temporary, temporary.open("wb") as file:
            file.writelines(content)
    if kept.rows:
        table = pa.concat_tables(kept.rows)
        with atomic_path(stem.with_name(f"{stem.name}.arrow"), durable=False) as temporary:
            write_arrow_file(table.combine_chunks(), temporary)


class LayoutThread:
    """Lays the archive out beside an ingest, in a thread of its own.

    A fault of it is logged and tried again: it never stops the ingest, and what is not laid out
    stays in segments.

    Args:
        data: where the archive lies.
        layout: form of the files.
        now: wall clock.
        every_s: pause between two looks at the segments, in seconds.
    """

    def __init__(
        self,
        data: DataDir,
        layout: Layout,
        *,
        now: Callable[[], datetime],
        every_s: float = 30.0,
    ) -> None:
        self._work = partial(lay_out, data, layout)
        self._now = now
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archive-layout", daemon=True)

    def __enter__(self) -> LayoutThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the round in hand."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._work(now=self._now(), stop=self._stop)
            except AmiError as error:
                log.warning("the archive is not laid out: %s", error)
