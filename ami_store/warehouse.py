"""The published warehouse: reads what dbt built, gives readers an immutable snapshot of it.

dbt alone writes `warehouse.duckdb`; `publish` copies the file to `serve.duckdb`, which is replaced
whole: copying bytes costs a tick next to nothing, writing every table anew a CPU-second and more.
Readers attach the snapshot read-only, so no writer ever waits for them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from ami_contract.errors import WarehouseError
from ami_contract.lake import DataDir
from ami_store.files import TEMPORARY_PREFIX, write_with
from ami_store.lake import hours, remove_replaced
from ami_store.sql import identifier, memory_connection, text_literal
from ami_store.views import lake_views

# Views name their catalog, so every reader attaches the snapshot under the writer's name.
CATALOG: Final = "warehouse"
# EXPLAIN ANALYZE runs what it explains.
_EXPLAIN: Final = re.compile(r"\s*EXPLAIN(\s+ANALYZE\b|\s*\([^()]*\))?", re.IGNORECASE)


@dataclass(frozen=True)
class Published:
    """A published snapshot.

    Attributes:
        tables: relations that plain names find.
        kept: tables that stayed as they were published before, or unpublished.
        bytes: size of the snapshot's file.
        listed_at: when the lake was listed for it; readings landed later are not in it.
    """

    tables: list[str]
    kept: list[str]
    bytes: int
    listed_at: datetime


@dataclass(frozen=True)
class Answer:
    """Result of a query: column names and rows."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def publish(data: DataDir, keep: Collection[str] = ()) -> Published:
    """Replace the published snapshot by what dbt has built.

    Args:
        data: where the warehouse lies.
        keep: tables to leave as they are published now; those that are not are left out.

    Raises:
        WarehouseError: dbt has not built anything yet, or is writing now.
    """
    if not data.warehouse.exists():
        raise WarehouseError(f"{data.warehouse} does not exist; run `ami build` first")
    # One publication runs at a time, so whatever is left here is of a killed one.
    for leftover in data.published_warehouse.parent.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)
    kept: list[str] = []
    try:
        with memory_connection() as con:
            con.execute(f"ATTACH {text_literal(data.warehouse)} AS {CATALOG} (READ_ONLY)")

            # Attached, so nobody writes to it until the copy closes the file, which ends the lock.
            def copy(path: Path) -> None:
                log = _write_ahead_log(data.warehouse)
                unmerged = log.exists()
                if unmerged:
                    shutil.copyfile(log, _write_ahead_log(path))
                shutil.copyfile(data.warehouse, path)
                if unmerged or keep:
                    con.execute(f"ATTACH {text_literal(path)} AS snapshot")
                    kept.extend(_keep(con, data, keep))
                    con.execute("CHECKPOINT snapshot")
                    con.execute("DETACH snapshot")

            write_with(data.published_warehouse, copy)
    except duckdb.Error as error:
        raise WarehouseError(
            f"cannot publish {data.warehouse}: {error}; when another process holds it, wait for "
            "its run to end"
        ) from error
    with connect(data) as con:
        tables = con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = ? "
            "UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = ? ORDER BY 1",
            [CATALOG, CATALOG],
        ).fetchall()
    listed_at = published_listing(data)
    assert listed_at is not None
    size = data.published_warehouse.stat().st_size
    return Published([name for (name,) in tables], kept, size, listed_at)


def _write_ahead_log(database: Path) -> Path:
    """Where DuckDB leaves what a killed writer committed and did not yet merge into the file."""
    return database.with_name(f"{database.name}.wal")


def _keep(con: duckdb.DuckDBPyConnection, data: DataDir, names: Collection[str]) -> list[str]:
    """Give tables of the new `snapshot` the rows of the present one; returns which."""
    built = _tables_of(con, "snapshot") & set(names)
    if not built:
        return []
    present: set[str] = set()
    if data.published_warehouse.exists():
        con.execute(f"ATTACH {text_literal(data.published_warehouse)} AS present (READ_ONLY)")
        present = _tables_of(con, "present")
    for name in sorted(built):
        table = f"main.{identifier(name)}"
        con.execute(f"DROP TABLE snapshot.{table}")
        if name in present:
            con.execute(f"CREATE TABLE snapshot.{table} AS FROM present.{table}")
    if data.published_warehouse.exists():
        con.execute("DETACH present")
    return sorted(built)


def _tables_of(con: duckdb.DuckDBPyConnection, catalog: str) -> set[str]:
    found = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main'",
        [catalog],
    ).fetchall()
    return {name for (name,) in found}


def published_listing(data: DataDir) -> datetime | None:
    """When the lake was listed for the published snapshot; None when there is none."""
    if not data.published_warehouse.exists():
        return None
    with memory_connection() as con:
        con.execute(f"ATTACH {text_literal(data.published_warehouse)} AS {CATALOG} (READ_ONLY)")
        row = con.execute(f"SELECT epoch_us(listed_at) FROM {CATALOG}.lake.listing").fetchone()
        assert row is not None
    return datetime.fromtimestamp(row[0] / 1_000_000, UTC)


def built_versions(data: DataDir) -> dict[datetime, str]:
    """Version of every hour (`Hour.version`) that the published models were last built whole from.

    Empty when nothing is published, or the models have changed since.
    """
    if not data.published_warehouse.exists():
        return {}
    with memory_connection() as con:
        con.execute(f"ATTACH {text_literal(data.published_warehouse)} AS {CATALOG} (READ_ONLY)")
        if not con.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE database_name = ? "
            "AND schema_name = 'state' AND table_name = 'windows'",
            [CATALOG],
        ).fetchall()[0][0]:
            return {}
        rows = con.execute(
            f"SELECT epoch_us(window_ts), version FROM {CATALOG}.state.windows"
        ).fetchall()
    return {
        datetime.fromtimestamp(start_us / 1_000_000, UTC): version for start_us, version in rows
    }


def collect_garbage(data: DataDir, *, now: datetime, grace: timedelta) -> int:
    """Delete lake files that neither the lake nor the published snapshot names any more.

    A file goes when it was taken off its hour's list before the snapshot's listing and at least
    `grace` ago. Returns how many went.
    """
    listed_at = published_listing(data)
    if listed_at is None:
        return 0
    return sum(
        remove_replaced(data, hour.start, now=now, grace=grace, before=listed_at)
        for hour in hours(data)
    )


def connect(data: DataDir) -> duckdb.DuckDBPyConnection:
    """A reading connection: marts from the snapshot, `raw_meter_readings` as the lake stands now.

    Plain names find the tables and views of the snapshot. Without a snapshot there is only the
    lake.
    """
    con = memory_connection()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("CREATE SCHEMA lake")
    live = lake_views(data)
    path = ["memory.lake"]
    if data.published_warehouse.exists():
        con.execute(f"ATTACH {text_literal(data.published_warehouse)} AS {CATALOG} (READ_ONLY)")
        path.append(f"{CATALOG}.main")
        # Of what the snapshot's own views of the lake name, only what is not known live.
        live = {name: f"FROM {CATALOG}.lake.{name}" for name in _lake_names(con)} | live
    for name, body in live.items():
        con.execute(f"CREATE VIEW memory.lake.{name} AS {body}")
    con.execute(f"SET search_path = {text_literal(','.join(path))}")
    con.execute(f"SET allowed_directories = [{text_literal(data.root)}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def _lake_names(con: duckdb.DuckDBPyConnection) -> list[str]:
    found = con.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? "
        "AND table_schema = 'lake'",
        [CATALOG],
    ).fetchall()
    return [name for (name,) in found]


def _reads(sql: str) -> bool:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        return False
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        explain = _EXPLAIN.match(sql)
        return explain is not None and _reads(sql[explain.end() :])
    return kind == duckdb.StatementType.SELECT


def query(data: DataDir, sql: str, parameters: Sequence[object] = ()) -> Answer:
    """Answer of one reading statement over the published warehouse.

    Args:
        data: where the warehouse lies.
        sql: one SELECT, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.
        parameters: values of its `?`.

    Raises:
        WarehouseError: the statement writes, is several, or DuckDB refuses it.
    """
    try:
        if not _reads(sql):
            raise WarehouseError("one SELECT at a time; the published warehouse is read-only")
        with connect(data) as con:
            cursor = con.execute(sql, parameters or None)
            return Answer([column[0] for column in cursor.description or []], cursor.fetchall())
    except (duckdb.Error, ValueError) as error:
        hint = (
            ""
            if data.published_warehouse.exists()
            else "; nothing is published yet: run `ami build`"
        )
        raise WarehouseError(f"{error}{hint}") from error
