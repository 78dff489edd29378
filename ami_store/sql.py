"""SQL for DuckDB: reads paths, gives literals (only here paths become SQL), and connections."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import duckdb


def text_literal(text: str | Path) -> str:
    """`text` as a quoted SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def file_list(paths: Iterable[Path]) -> str:
    """`paths` as a SQL list of strings, for `read_parquet`."""
    return f"[{', '.join(text_literal(path) for path in paths)}]"


def memory_connection(**config: str | int) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that spills to a folder of its own in the system's (`TMPDIR`).

    By itself DuckDB spills to `.tmp` below whatever folder the process was started in, which need
    not be writable. The folder appears with the first spill and goes with the connection; queries
    may read it, so it holds nothing else.
    """
    spill = Path(tempfile.gettempdir()) / f"ami-duckdb-{uuid4().hex}"
    return duckdb.connect(config={"temp_directory": str(spill), **config})
