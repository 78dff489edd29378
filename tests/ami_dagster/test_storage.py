"""SQLite files of a new instance: made once, whoever comes first."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

from ami_dagster.storage import LocalStorage


def _open(folder: str, together: object) -> None:
    together.wait()  # type: ignore[attr-defined]
    LocalStorage.from_config_value(None, {"base_dir": folder})


def test_processes_that_open_a_new_instance_at_once_make_its_files_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)
    openers = [context.Process(target=_open, args=(str(tmp_path), together)) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(60)
    assert [opener.exitcode for opener in openers] == [0, 0, 0, 0]
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        with sqlite3.connect(tmp_path / name) as con:
            assert len(con.execute("SELECT * FROM alembic_version").fetchall()) == 1, name
