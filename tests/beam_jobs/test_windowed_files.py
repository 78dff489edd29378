"""One whole file per key, window and pane, the same however often it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import IntervalWindow, TimestampedValue
from ingest_helpers import files_below, streamed

from ami_contract.errors import LakeError
from beam_jobs.windowed_files import (
    FileKey,
    WriteWindowedFiles,
    file_name,
    join_bytes,
    write_object,
)

Keyed = tuple[FileKey, bytes]


def at(second: float, content: bytes, folder: str = "a/b") -> TimestampedValue:
    return TimestampedValue(((folder, "txt"), content), second)


def stream() -> TestStream:
    return TestStream().with_output_types(Keyed).advance_watermark_to(0)


def test_a_name_holds_window_pane_and_digest() -> None:
    name = file_name(IntervalWindow(60, 120), 3, b"abc", "jsonl")

    assert name == "19700101T000100Z-0003-ba7816bf8f01cfea.jsonl"


def test_the_order_of_arrival_does_not_change_a_file() -> None:
    assert join_bytes([b"2", b"1", b"3"]) == join_bytes(iter([b"3", b"2", b"1"])) == b"123"


def test_a_window_is_one_file_per_key_and_the_next_window_another(tmp_path: Path) -> None:
    events = (
        stream()
        .add_elements([at(1, b"1\n"), at(2, b"3\n", "c")])
        .add_elements([at(59, b"2\n"), at(60, b"4\n")])
        .advance_watermark_to_infinity()
    )
    paths = streamed(WriteWindowedFiles(str(tmp_path), 60, "archive"), events)

    found = {Path(p).relative_to(tmp_path): Path(p).read_bytes() for p in paths}
    assert {(str(p.parent), p.name[:22]): content for p, content in found.items()} == {
        ("a/b", "19700101T000000Z-0000-"): b"1\n2\n",
        ("c", "19700101T000000Z-0000-"): b"3\n",
        ("a/b", "19700101T000100Z-0000-"): b"4\n",
    }
    assert len(files_below(tmp_path)) == 3


def test_what_comes_after_its_window_makes_another_file_and_leaves_the_first(
    tmp_path: Path,
) -> None:
    events = (
        stream()
        .add_elements([at(1, b"1\n")])
        .advance_watermark_to(61)
        .add_elements([at(2, b"2\n")])
        .advance_watermark_to_infinity()
    )
    streamed(WriteWindowedFiles(str(tmp_path), 60, "archive"), events)

    found = {name[:26]: content for name, content in files_below(tmp_path).items()}
    assert found == {
        "a/b/19700101T000000Z-0000-": b"1\n",
        "a/b/19700101T000000Z-0001-": b"2\n",
    }


def test_the_same_input_again_leaves_the_same_files(tmp_path: Path) -> None:
    for pieces in ([b"1\n", b"2\n"], [b"2\n", b"1\n"]):
        events = stream().add_elements([at(1, p) for p in pieces]).advance_watermark_to_infinity()
        streamed(WriteWindowedFiles(str(tmp_path), 60, "archive"), events)

    assert list(files_below(tmp_path).values()) == [b"1\n2\n"]


def test_another_job_s_file_of_the_same_window_and_pane_stays(tmp_path: Path) -> None:
    """As after a drain: the new job starts the window again with its first pane."""
    for piece in (b"before the drain\n", b"after it\n"):
        events = stream().add_elements([at(1, piece)]).advance_watermark_to_infinity()
        streamed(WriteWindowedFiles(str(tmp_path), 60, "archive"), events)

    assert sorted(files_below(tmp_path).values()) == [b"after it\n", b"before the drain\n"]


def test_a_local_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(LakeError, match="No space left"):
        write_object(str(tmp_path / "a" / "b.txt"), b"x")
    assert files_below(tmp_path) == {}
