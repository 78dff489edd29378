"""A file of the lake is either what it was or all of what it is to become."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from ami_contract.errors import LakeError
from ami_store.files import replace_folder, write_bytes, write_with

ROOT = Path(__file__).resolve().parents[2]


def test_writes_into_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"new")

    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"new"
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"ha")
        raise RuntimeError("lost the thread")

    with pytest.raises(RuntimeError, match="lost the thread"):
        write_with(target, fail)

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("moment", ["os.fsync", "Path.replace"])
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    program = f"""
        import os
        from pathlib import Path
        from ami_store.files import write_bytes
        {moment} = lambda *_: os._exit(9)
        write_bytes(Path({str(target)!r}), b"new and longer")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, timeout=60, check=False
    )

    assert done.returncode == 9
    assert target.read_bytes() == b"old"
    assert all(p.name.startswith(".") for p in tmp_path.iterdir() if p != target)


def test_the_new_name_appears_only_after_the_content_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    seen: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        is_folder = Path(f"/proc/self/fd/{handle}").resolve().is_dir()
        seen.append((is_folder, target.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_bytes(target, b"new")

    assert seen == [(False, False), (True, True)]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(LakeError, match=r"cannot write .*/file/below: "):
        write_bytes(tmp_path / "file" / "below", b"")


def test_a_full_disk_is_a_lake_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fill_the_disk(path: Path) -> None:
        path.write_bytes(b"half")
        Path("/dev/full").write_bytes(b"x" * 10)

    with pytest.raises(LakeError, match="No space left on device"):
        write_with(target, fill_the_disk)

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("moment", "call", "left"),
    [("replace", 1, {"old"}), ("replace", 2, {"old"}), ("rmtree", 2, {"old", "new"})],
)
def test_a_folder_that_a_killed_process_was_replacing_is_there_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, call: int, left: set[str]
) -> None:
    target = tmp_path / "day"
    for folder, content in ((target, "old"), (tmp_path / "new", "new"), (tmp_path / "third", "3")):
        folder.mkdir()
        (folder / "file").write_text(content)
    owner = Path if moment == "replace" else shutil
    real, calls = getattr(owner, moment), itertools.count(1)

    def killed(*given: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(tmp_path / "new", target)
    assert {path.read_text() for path in tmp_path.glob("*day/file")} == left

    replace_folder(tmp_path / "third", target)
    assert (target / "file").read_text() == "3"
    assert {path.name for path in tmp_path.iterdir()} <= {"day", "new"}
