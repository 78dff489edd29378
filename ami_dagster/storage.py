"""Dagster's runs and events in SQLite: reads and writes its files without a sync for every event.

Dagster opens and closes a connection per event, and SQLite syncs a file when the last connection to
it closes: tens of milliseconds for an event, of which a run writes hundreds and every partition
some. Here one idle connection per file stays open and commits are left to the write-ahead log: a
killed process loses nothing, a power cut at most the last events and never the file
(https://www.sqlite.org/pragma.html#pragma_synchronous). `dagster.yaml` names the class, so the
processes of Dagster load this module too.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from ami_store.files import locked

# A daemon meets a file per run.
_MOST_HELD: Final = 16
_held: OrderedDict[str, sqlite3.Connection] = OrderedDict()
_lock: Final = Lock()


class LocalStorage(DagsterSqliteStorage):
    """`storage: custom:` of a local instance; config: `base_dir`, the instance's folder."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> LocalStorage:
        """The storage of an instance; its files are made by one process, the others wait.

        Two that make them at once leave a file that no process of Dagster opens any more.
        """
        with locked(Path(config_value["base_dir"]) / ".opening.lock"):
            return cls.from_local(inst_data=inst_data, **config_value)


@sa.event.listens_for(sa.engine.Engine, "connect")
def _spare_syncs(connection: object, _record: object) -> None:
    """Make a new SQLite connection commit without a sync, and keep its file open."""
    if not isinstance(connection, sqlite3.Connection):
        return
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if not path or connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        return
    connection.execute("PRAGMA synchronous = NORMAL")
    with _lock:
        if path not in _held:
            _held[path] = sqlite3.connect(path, check_same_thread=False)
            # A connection counts for the log only once it has read.
            _held[path].execute("SELECT count(*) FROM sqlite_master").fetchone()
        _held.move_to_end(path)
        if len(_held) > _MOST_HELD:
            _held.popitem(last=False)[1].close()
