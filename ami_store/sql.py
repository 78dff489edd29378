"""SQL text for DuckDB: reads paths, gives literals; the only place where paths become SQL."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def text_literal(text: str | Path) -> str:
    """`text` as a quoted SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


def file_list(paths: Iterable[Path]) -> str:
    """`paths` as a SQL list of strings, for `read_parquet`."""
    return f"[{', '.join(text_literal(path) for path in paths)}]"
