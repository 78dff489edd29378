"""In-memory connections spill where they may, not where the process was started."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ami_store.sql import memory_connection


def test_what_does_not_fit_into_memory_spills_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_in, spilled_to = tmp_path / "here", tmp_path / "there"
    for folder in (started_in, spilled_to):
        folder.mkdir()
    monkeypatch.chdir(started_in)
    monkeypatch.setattr(tempfile, "tempdir", str(spilled_to))
    with memory_connection(memory_limit="100MB", threads=1) as con:
        con.execute("CREATE TABLE big AS SELECT hash(i) AS h, i FROM range(20000000) AS r(i)")
        assert list(spilled_to.rglob("*.tmp"))
        assert not list(started_in.iterdir())
    assert not list(spilled_to.iterdir())
