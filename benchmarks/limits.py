"""Reads prepared payloads; gives Parquet files with nothing but decoding and encoding in between.

The least work that any ingest of the same bytes has to do on this machine: no Beam, validation,
attributes, archive, dead letter or fsync.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from ami_contract.reading import READING_FIELDS
from ami_contract.render import duckdb_type
from ami_store.sql import text_literal

# Threads within a small stream cost CPU time and save none.
_ONE_THREAD: Final = pyarrow.ipc.IpcReadOptions(use_threads=False)


def write_ndjson(payloads: Sequence[bytes], target: Path) -> None:
    """JSON arrays as one file with a reading per line, DuckDB's fastest JSON input."""
    with target.open("wb") as file:
        for payload in payloads:
            file.writelines(orjson.dumps(row) + b"\n" for row in orjson.loads(payload))


def json_to_parquet(source: Path, target: Path) -> None:
    """DuckDB `read_json` with given column types → zstd Parquet."""
    columns = ", ".join(f"{f.name}: {text_literal(duckdb_type(f.type))}" for f in READING_FIELDS)
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT * FROM read_json({text_literal(source)}, "
            f"format = 'newline_delimited', columns = {{{columns}}})) "
            f"TO {text_literal(target)} (FORMAT parquet, COMPRESSION zstd)"
        )


def arrow_to_parquet(payloads: Sequence[bytes], target: Path) -> None:
    """Arrow IPC streams → zstd Parquet with pyarrow."""
    tables = []
    for payload in payloads:
        with pyarrow.ipc.open_stream(pa.BufferReader(payload), options=_ONE_THREAD) as stream:
            tables.append(stream.read_all())
    pq.write_table(pa.concat_tables(tables), target, compression="zstd")
