"""What dbt has built: reads `warehouse.duckdb`, gives rows, span of time and newest rows of tables.

Only between two runs of dbt: while one has the file, no other process can open it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from ami_contract.errors import WarehouseError
from ami_contract.lake import DataDir
from ami_store.sql import memory_connection, text_literal
from ami_store.warehouse import CATALOG, Answer


@dataclass(frozen=True)
class Span:
    """Least and largest value of a time column, ISO 8601 in UTC; None when there is no row."""

    first: str | None
    last: str | None


@contextmanager
def built_warehouse(data: DataDir) -> Iterator[duckdb.DuckDBPyConnection]:
    """A reading connection in which plain names are the tables of the warehouse.

    Raises:
        WarehouseError: nothing is built yet, or another process is writing.
    """
    if not data.warehouse.exists():
        raise WarehouseError(f"{data.warehouse} does not exist; run `ami build` first")
    with memory_connection() as con:
        con.execute("SET TimeZone = 'UTC'")
        try:
            con.execute(f"ATTACH {text_literal(data.warehouse)} AS {CATALOG} (READ_ONLY)")
        except duckdb.Error as error:
            raise WarehouseError(
                f"cannot read {data.warehouse}: {error}; when another process holds it, wait for "
                "its run to end"
            ) from error
        con.execute(f"USE {CATALOG}")
        yield con


def row_counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of every table (not view) of models and seeds, by name."""
    names = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main'",
        [CATALOG],
    ).fetchall()
    if not names:
        return {}
    counts = " UNION ALL ".join(
        f'SELECT {text_literal(name)}, (SELECT count(*) FROM main."{name}")' for (name,) in names
    )
    return dict(con.execute(counts).fetchall())


def time_span(con: duckdb.DuckDBPyConnection, table: str, column: str) -> Span:
    """First and last value of a column of times or days."""
    row = con.execute(
        f'SELECT min("{column}")::VARCHAR, max("{column}")::VARCHAR FROM main."{table}"'
    ).fetchone()
    assert row is not None
    return Span(*row)


def newest_rows(
    con: duckdb.DuckDBPyConnection, table: str, column: str | None, rows: int
) -> Answer:
    """The rows with the largest values of `column`; any rows without it."""
    order = f'ORDER BY "{column}" DESC NULLS LAST' if column else ""
    cursor = con.execute(f'SELECT * FROM main."{table}" {order} LIMIT {rows}')
    return Answer([each[0] for each in cursor.description or []], cursor.fetchall())


def first_rows(con: duckdb.DuckDBPyConnection, query: str, rows: int) -> Answer:
    """Some rows of a query, which is one of the project's own."""
    cursor = con.sql(query).limit(rows)
    return Answer(cursor.columns, cursor.fetchall())
