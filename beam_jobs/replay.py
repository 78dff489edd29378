"""Replay: reads archive and dead letter of some hours, gives the lake they make.

`replay_into` fills a new data folder, archive and dead letter included. `replay_in_place` makes the
stored rows of the hours anew and replaces those that differ, hour by hour in one commit each. Both
run the ingest's own graph; every reading is judged and stored with the clock of its first arrival.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ami_contract.errors import LakeError, SettingsError
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder, hour_of_folder
from ami_contract.reading import OLDEST_EVENT_TS, Attribute, ContentType
from ami_store.files import fsync_folder, locked, write_bytes
from ami_store.lake import (
    Hour,
    Manifest,
    Rebuilt,
    alone_in_lake,
    commit_rebuilt,
    compaction_connection,
    compare_rebuilt,
    hours,
)
from ami_store.quarantine import clear_quarantine
from beam_jobs.archive import READINGS_KEY
from beam_jobs.archive_places import LINE_END, split_line, split_payload, texts_of, within
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.layout import archive_files, read_archive, read_lines, read_rows
from beam_jobs.letters import Choice, letters, message_of, replay_letters
from beam_jobs.pipeline import Ingest

BATCH_BYTES: Final = 64 * 1024 * 1024
_ARROW_EXPANSION: Final = 8
_NO_BOUNDS: Final = PayloadBounds(sys.maxsize, sys.maxsize)
"""Of archived payloads: they were accepted once."""

_FAR_FUTURE: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """Whole UTC hours of `event_ts`.

    Attributes:
        start: first hour; None: the oldest.
        end: first moment after the last hour; None: no end.
    """

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def outward(cls, start: datetime | None, end: datetime | None) -> Span:
        """The whole hours that meet [start, end).

        Raises:
            SettingsError: there is no moment in between.
        """
        if start is not None and end is not None and end <= start:
            raise SettingsError(f"--to {end.isoformat()} is not after --from {start.isoformat()}")
        last = None if end is None else floor_hour(end)
        if end is not None and last is not None and last != end:
            last += HOUR
        return cls(None if start is None else floor_hour(start), last)

    def holds(self, hour: datetime) -> bool:
        """Whether `hour` is one of them."""
        return (self.start is None or hour >= self.start) and (self.end is None or hour < self.end)

    def __str__(self) -> str:
        first = "the first reading" if self.start is None else f"{self.start:%Y-%m-%d %H:%M}Z"
        last = "the last" if self.end is None else f"{self.end:%Y-%m-%d %H:%M}Z"
        return f"{first} … {last}"


@dataclass
class Replay:
    """What a replay has done so far.

    Attributes:
        files, of_files: of the archive: read, and to read.
        counters: sums of the graph's counters.
        letters: dead letters judged again.
        restored: by an in-place replay: hours replaced, with rows before and after.
        unchanged: by an in-place replay: hours that were right.
    """

    files: int = 0
    of_files: int = 0
    letters: int = 0
    counters: Counter[str] = field(default_factory=Counter)
    restored: list[Rebuilt] = field(default_factory=list)
    unchanged: int = 0

    @property
    def stored(self) -> int:
        """Readings through the graph and accepted."""
        return self.counters["stored"]

    @property
    def refused(self) -> Counter[str]:
        """Refused readings and payloads by code."""
        return Counter(
            {
                name.removeprefix("refused."): count
                for name, count in sorted(self.counters.items())
                if name.startswith("refused.")
            }
        )


Report = Callable[[Replay], None]


def replay_into(
    data: DataDir,
    target: Path,
    span: Span,
    *,
    bounds: PayloadBounds,
    batch_bytes: int = BATCH_BYTES,
    report: Report = lambda done: None,
) -> Replay:
    """Make a new data folder from archive and dead letter of `data`, with its registry.

    A dead letter counts to the hour of its arrival. The folder appears whole or not at all.

    Args:
        data: where archive and dead letter lie.
        target: the new folder; must not exist, or be empty.
        span: hours of `event_ts`.
        bounds: for dead letters: a larger payload is refused.
        batch_bytes: payload bytes in memory at most.
        report: called after every batch.

    Raises:
        SettingsError: `target` is in use.
        LakeError: nothing to replay, or a file cannot be read or written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(f"{target} exists and is not empty; name a new folder")
    staged = DataDir(target.parent / f".replaying-{target.name}")
    done = Replay()
    with locked(data.run / "replay.lock", wait=False, held=_BUSY):
        shutil.rmtree(staged.root, ignore_errors=True)
        try:
            with read_archive(data):
                graph = BoundedGraph(Ingest(staged.root, _NO_BOUNDS))
                _run(graph, "replay", _archived(data, span, done), batch_bytes, done, report)
                graph = BoundedGraph(Ingest(staged.root, bounds))
                _run(graph, "letters", _refused(data, span, done), batch_bytes, done, report)
            _check_something(data, span, done)
            if data.registry.exists():
                write_bytes(staged.registry, data.registry.read_bytes())
            try:
                staged.root.rename(target)
                fsync_folder(target.parent)
            except OSError as error:
                raise LakeError(f"cannot make {target}: {error.strerror}") from error
        finally:
            shutil.rmtree(staged.root, ignore_errors=True)
    return done


_BUSY: Final = "another replay of this data folder is running; try again when it has ended"


def replay_in_place(
    data: DataDir,
    span: Span,
    *,
    now: datetime,
    bounds: PayloadBounds,
    batch_bytes: int = BATCH_BYTES,
    report: Report = lambda done: None,
) -> Replay:
    """Make the stored rows of `span` anew and replace the hours whose rows differ.

    Dead letters that pass by the clock of their arrival are stored first and leave the dead letter.
    Nothing is replaced unless every stored reading of all the hours comes back. Killed anywhere and
    run again it ends the same; run twice it changes nothing.

    Args:
        data: the data folder.
        span: hours of `event_ts`.
        now: clock of the commits.
        bounds: for dead letters: a larger payload is refused.
        batch_bytes: payload bytes in memory at most.
        report: called after every batch.

    Raises:
        LakeError: nothing to replay; a stored reading is not in the archive, or an archived one is
            refused by now; hours are being compacted; a file cannot be read or written.
    """
    done = Replay()
    staged = DataDir(data.run / "replay")
    with (
        locked(data.run / "replay.lock", wait=False, held=_BUSY),
        alone_in_lake(data, wait=False),
    ):
        shutil.rmtree(staged.root, ignore_errors=True)
        try:
            choice = Choice(since=span.start, until=span.end)
            found = replay_letters(data, choice, now=now, bounds=bounds, recorded_clock=True)
            done.letters = found.letters
            # Before the archive is listed: what has landed by then is archived by then.
            before = {hour.start: hour for hour in hours(data) if span.holds(hour.start)}
            with read_archive(data):
                files = archive_files(data, span.start, span.end)
                graph = BoundedGraph(Ingest(staged.root, _NO_BOUNDS, archive=False))
                _run(graph, "replay", _archived(data, span, done), batch_bytes, done, report)
            if not before:
                _check_something(data, span, done)
            _check_none_refused(done)
            segments = {path.name.partition(".")[0] for path in files}
            _replace(data, staged, span, before, segments, now, done)
        finally:
            shutil.rmtree(staged.root, ignore_errors=True)
    return done


def _replace(
    data: DataDir,
    staged: DataDir,
    span: Span,
    before: dict[datetime, Hour],
    segments: set[str],
    now: datetime,
    done: Replay,
) -> None:
    made = {hour_of_folder(folder) for folder in staged.landing.glob("dt=*/hr=*")}
    changed = []
    with compaction_connection() as con:
        for start in sorted(made | before.keys()):
            if not span.holds(start):
                continue
            hour = before.get(start, Hour(start, Manifest(), []))
            files = sorted((staged.landing / hour_folder(start)).glob("*.parquet"))
            rebuilt = compare_rebuilt(data, hour, files, con)
            if rebuilt.missing:
                raise LakeError(
                    f"{rebuilt.missing} readings stored for {start:%Y-%m-%d %H:00}Z are not in the "
                    f"archive {data.archive} (history written with --out-form lake has none); "
                    "nothing was changed. Leave that hour out with --from and --to"
                )
            if rebuilt.fingerprint is None:
                done.unchanged += 1
            else:
                changed.append(rebuilt)
        for rebuilt in changed:
            commit_rebuilt(data, rebuilt, segments, now=now, con=con)
            done.restored.append(rebuilt)
    # Last: killed before, the next replay finds these hours right and clears them.
    clear_quarantine(data, made)


def _check_something(data: DataDir, span: Span, done: Replay) -> None:
    if not done.of_files and not done.letters and not any(data.archive.rglob("[!.]*.*")):
        raise LakeError(f"{data.archive} holds no archive; nothing can be replayed")
    if not done.counters["messages"]:
        raise LakeError(f"archive and dead letter hold nothing of {span}; nothing was written")


def _check_none_refused(done: Replay) -> None:
    if done.refused:
        counts = ", ".join(f"{count} {code}" for code, count in done.refused.items())
        raise LakeError(
            f"archived readings are refused by the rules of today ({counts}); nothing was changed. "
            "`ami replay --into FOLDER` judges everything anew"
        )


def _run(
    graph: BoundedGraph,
    name: str,
    messages: Iterable[Message],
    batch_bytes: int,
    done: Replay,
    report: Report,
) -> None:
    for number, batch in enumerate(_batches(messages, batch_bytes)):
        latest = max(message.ingest_ts or OLDEST_EVENT_TS for message in batch)
        metrics = graph.run([MessageBatch(f"{name}-{number:06d}", latest, batch)])
        done.counters.update(metrics.counters)
        report(done)


def _batches(messages: Iterable[Message], most_bytes: int) -> Iterator[list[Message]]:
    batch: list[Message] = []
    held = 0
    for message in messages:
        arrow = message.attributes.get(Attribute.CONTENT_TYPE) == ContentType.ARROW
        size = len(message.data) * (_ARROW_EXPANSION if arrow else 1)
        if batch and held + size > most_bytes:
            yield batch
            batch, held = [], 0
        batch.append(message)
        held += size
    if batch:
        yield batch


def _refused(data: DataDir, span: Span, done: Replay) -> Iterator[Message]:
    """Dead letters that arrived in `span`, as messages."""
    for letter in letters(data, Choice(since=span.start, until=span.end)):
        done.letters += 1
        yield message_of(data, letter, recorded_clock=True)


def _archived(data: DataDir, span: Span, done: Replay) -> Iterator[Message]:
    """Archived messages with their readings of `span`; inside `read_archive`."""
    files = archive_files(data, span.start, span.end)
    done.of_files = len(files)
    for path in files:
        whole = span == Span() or path.is_relative_to(data.archive_raw)
        try:
            if path.suffix == ".arrow":
                yield from _of_rows(path, None if whole else span)
            else:
                yield from _of_lines(path, None if whole else span)
        except LakeError as error:
            raise LakeError(f"{path}: {error}") from error
        done.files += 1


def _of_lines(path: Path, span: Span | None) -> Iterator[Message]:
    inside = _inside(span)
    for line in read_lines(path):
        kept = line if inside is None else split_line(line, inside).get(True)
        if kept is not None:
            yield message_of_line(kept)


def _of_rows(path: Path, span: Span | None) -> Iterator[Message]:
    inside = _inside(span)
    for row in read_rows(path).to_pylist():
        payload = row["payload"]
        kept = payload if inside is None else split_payload(payload, inside).get(True)
        if kept is not None:
            yield Message(
                row["message_id"],
                row["publish_time"],
                dict(row["attributes"]),
                kept,
                row["ingest_ts"],
            )


def _inside(span: Span | None) -> Any:
    if span is None:
        return None
    return within(span.start or OLDEST_EVENT_TS, span.end or _FAR_FUTURE)


def message_of_line(line: bytes) -> Message:
    """The message a line of the archive was made of, without what was refused of it.

    Raises:
        LakeError: it is no line of the archive.
    """
    at = line.find(READINGS_KEY)
    if at < 0 or not line.endswith(LINE_END):
        raise LakeError(f"not a line of the archive: {line[:200]!r}")
    try:
        head = json.loads(line[:at] + b"}")
        times = [datetime.fromisoformat(head[name]) for name in ("publish_time", "ingest_ts")]
        attributes: dict[str, str] = head["attributes"]
        identity: str = head["message_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(f"not a line of the archive ({error}): {line[:200]!r}") from error
    first = at + len(READINGS_KEY)
    if attributes.get(Attribute.CONTENT_TYPE) == ContentType.NDJSON:
        data = b"\n".join(texts_of(line[first : -len(LINE_END)]))
    else:
        data = line[first - 1 : 1 - len(LINE_END)]
    return Message(identity, times[0], attributes, data, times[1])
