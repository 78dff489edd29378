"""Windowed files: reads keyed byte strings, gives one whole file per key, window and pane.

A file's name holds its window, its pane and a digest of its content:

- a bundle that is tried again writes the same file once more;
- a pane that differs, as one of a replaced job or of a worker believed dead, gets a file of its
  own instead of overwriting readings of another. A message may then stand in two files; it never
  stands in none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, IntervalWindow
from apache_beam.utils.windowed_value import PaneInfo

from ami_store.files import write_bytes
from beam_jobs.pipeline import NAMESPACE

ALLOWED_LATENESS_S: Final = 24 * 3600
_DIGEST_CHARACTERS: Final = 16

FileKey = tuple[str, str]
"""Folder below the root, and the file's extension without its dot."""


def write_object(path: str, content: bytes) -> None:
    """Write a file so that nobody ever meets a part of it.

    An object of a bucket appears whole when its one write ends; a local file is written beside
    its place and renamed.

    Raises:
        LakeError: the local folder cannot be written.
        BeamIOError: the bucket does not take it.
    """
    if FileSystems.get_scheme(path) is None:
        write_bytes(Path(path), content)
        return
    with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as target:
        target.write(content)


def file_name(window: IntervalWindow, pane_index: int, content: bytes, extension: str) -> str:
    """`<window's start>-<pane>-<digest>.<extension>`."""
    start = window.start.to_utc_datetime(has_tz=True)
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{start:%Y%m%dT%H%M%SZ}-{pane_index:04d}-{digest}.{extension}"


def join_bytes(pieces: Iterable[bytes]) -> bytes:
    """Pieces in an order that does not depend on their arrival."""
    return b"".join(sorted(pieces))


class WriteWindowedFiles(beam.PTransform):
    """`(FileKey, bytes)` with timestamps → paths of the files written.

    Args:
        root: folder or `gs://bucket/prefix`.
        window_s: length of a window of the elements' timestamps, in seconds.
        kind: names the counters `<kind>_files` and `<kind>_bytes`.
        join: makes a file's content, by extension; `join_bytes` for any other.
    """

    def __init__(
        self,
        root: str,
        window_s: int,
        kind: str,
        *,
        join: dict[str, Callable[[Iterable[bytes]], bytes]] | None = None,
    ) -> None:
        super().__init__()
        self._root = root
        self._window_s = window_s
        self._kind = kind
        self._join = join or {}

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a keyed collection."""
        return (
            pcoll
            | "Window"
            >> beam.WindowInto(
                FixedWindows(self._window_s),
                trigger=AfterWatermark(late=AfterCount(1)),
                accumulation_mode=AccumulationMode.DISCARDING,
                allowed_lateness=ALLOWED_LATENESS_S,
            )
            | "Group" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteFn(self._root, self._kind, self._join))
        )


class _WriteFn(beam.DoFn):
    def __init__(
        self, root: str, kind: str, join: dict[str, Callable[[Iterable[bytes]], bytes]]
    ) -> None:
        self._root = root
        self._join = join
        self._files = Metrics.counter(NAMESPACE, f"{kind}_files")
        self._bytes = Metrics.counter(NAMESPACE, f"{kind}_bytes")

    def process(
        self,
        element: tuple[FileKey, Iterable[bytes]],
        window: IntervalWindow = beam.DoFn.WindowParam,
        pane: PaneInfo = beam.DoFn.PaneInfoParam,
    ) -> Iterator[str]:
        (folder, extension), pieces = element
        content = self._join.get(extension, join_bytes)(pieces)
        path = FileSystems.join(
            self._root, folder, file_name(window, pane.index, content, extension)
        )
        write_object(path, content)
        self._files.inc()
        self._bytes.inc(len(content))
        yield path
