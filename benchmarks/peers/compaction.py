"""Compaction by what a user would pick instead: reads an hour's landed files, gives one file.

    python -m benchmarks.peers.compaction ENGINE FILES_GLOB TARGET REPEATS

Of the copies of a reading (same meter_id, seq, event_ts) the one that came first stays, and the
file is sorted by meter and time. Copies taken out are gone here, conflicts between them are not
counted, steps of `seq` not computed, and the file is neither synced nor committed.

Patterns: <https://duckdb.org/docs/stable/sql/query_syntax/select#distinct-on-clause>,
<https://clickhouse.com/docs/sql-reference/statements/select/limit-by>,
<https://docs.pola.rs/api/python/stable/reference/lazyframe/api/polars.LazyFrame.unique.html>,
<https://pandas.pydata.org/docs/reference/api/pandas.DataFrame.drop_duplicates.html>.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.peers.cost import tell_of_one
from benchmarks.peers.sags import paths_of

KEY: Final = ["meter_id", "event_ts", "seq"]
_KEY_SQL: Final = ", ".join(KEY)


def duckdb_compacted(files: str, target: str) -> None:
    """DuckDB: DISTINCT ON."""
    import duckdb

    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as con:
        con.execute(
            f"COPY (SELECT DISTINCT ON ({_KEY_SQL}) * "
            f"FROM read_parquet('{files}', hive_partitioning = false) "
            f"ORDER BY {_KEY_SQL}, ingest_ts) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )


def clickhouse_compacted(files: str, target: str) -> None:
    """ClickHouse, in this process by chDB: LIMIT 1 BY."""
    import chdb

    Path(target).unlink(missing_ok=True)
    chdb.query(
        f"insert into function file('{target}', Parquet) "
        f"select * from file('{files}', Parquet) "
        f"order by {_KEY_SQL}, ingest_ts limit 1 by {_KEY_SQL} "
        "settings output_format_parquet_compression_method = 'zstd', use_hive_partitioning = 0"
    )


def polars_compacted(files: str, target: str) -> None:
    """Polars: a lazy scan, `sort` and `unique`, with the streaming engine."""
    import polars as pl

    (
        pl.scan_parquet(files, hive_partitioning=False)
        .sort(*KEY, "ingest_ts")
        .unique(KEY, keep="first", maintain_order=True)
        .sink_parquet(target, compression="zstd", engine="streaming")
    )


def pandas_compacted(files: str, target: str) -> None:
    """pandas: `concat`, `sort_values` and `drop_duplicates`."""
    import pandas as pd

    (
        pd.concat([pd.read_parquet(file) for file in paths_of(files)], ignore_index=True)
        .sort_values([*KEY, "ingest_ts"])
        .drop_duplicates(KEY)
        .to_parquet(target, compression="zstd", index=False)
    )


ENGINES: Final[dict[str, Callable[[str, str], None]]] = {
    "duckdb": duckdb_compacted,
    "clickhouse": clickhouse_compacted,
    "polars": polars_compacted,
    "pandas": pandas_compacted,
}

if __name__ == "__main__":
    tell_of_one(ENGINES)
