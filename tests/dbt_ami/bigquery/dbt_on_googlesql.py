"""dbt's BigQuery target on GoogleSQL's evaluator: reads a plan, runs dbt, gives the tables made.

A script: `python dbt_on_googlesql.py plan.json answer.json`. The dbt-bigquery adapter is the real
one up to the point where it would call Google; from there statements go to the evaluator. The plan:
`python` (of the evaluator's environment) and `steps`, each of them `load` (name, columns, rows),
`dbt` (arguments), `dump` (names of tables), `ask` (a query), `watch` (note from now on what
statements read; they are told this time, in µs since 1970) or `watched` (what they read). The
answer lists one result per step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from dbt.adapters.bigquery.column import BigQueryColumn
from dbt.adapters.bigquery.connections import BigQueryAdapterResponse, BigQueryConnectionManager
from dbt.adapters.bigquery.impl import BigQueryAdapter
from dbt.adapters.bigquery.relation import BigQueryRelation
from dbt.adapters.contracts.connection import Connection, ConnectionState
from dbt.cli.main import dbtRunner
from dbt_common.clients import agate_helper
from dbt_common.exceptions import DbtDatabaseError
from google.cloud.bigquery import SchemaField
from googlesql import GoogleSql, RefusedSql

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def shown(cell: Any, kind: str) -> Any:
    """A JSON cell as Google's client would give it to dbt."""
    if cell is None:
        return None
    if kind == "TIMESTAMP":
        return EPOCH + timedelta(microseconds=cell)
    if kind == "DATE":
        return date.fromisoformat(cell)
    if kind in ("NUMERIC", "BIGNUMERIC"):
        return Decimal(cell)
    return cell


def field_of(name: str, kind: str) -> SchemaField:
    """Column `name` as Google's client describes it."""
    if kind.startswith("ARRAY<"):
        return SchemaField(name, kind[6:-1], mode="REPEATED")
    return SchemaField(name, kind)


def install(database: GoogleSql) -> None:
    """Replace the methods of the adapter that call Google."""

    def ask(operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return database.ask(operation, **arguments)
        except RefusedSql as error:
            raise DbtDatabaseError(str(error)) from error

    def open_(cls: type, connection: Connection) -> Connection:
        connection.handle = database
        connection.state = ConnectionState.OPEN
        return connection

    def close(cls: type, connection: Connection) -> Connection:
        connection.handle = None
        connection.state = ConnectionState.CLOSED
        return connection

    def execute(
        self: Any, sql: str, auto_begin: bool = False, fetch: Any = None, limit: int | None = None
    ) -> tuple[BigQueryAdapterResponse, Any]:
        answer = ask("script", sql=sql)
        names = [name for name, _ in answer["columns"]]
        rows = [
            {
                name: shown(cell, kind)
                for cell, (name, kind) in zip(row, answer["columns"], strict=True)
            }
            for row in answer["rows"][:limit]
        ]
        table = (
            agate_helper.table_from_data_flat(rows, names) if fetch else agate_helper.empty_table()
        )
        return BigQueryAdapterResponse(_message="OK", rows_affected=len(rows)), table

    def relations(self: Any, schema_relation: Any) -> list[BigQueryRelation]:
        return [
            BigQueryRelation.create(
                database=schema_relation.database,
                schema=schema_relation.schema,
                identifier=name,
                type="view" if table["is_view"] else "table",
            )
            for name, table in ask("tables")["tables"].items()
        ]

    def columns_of(self: Any, relation: Any) -> list[BigQueryColumn]:
        table = ask("tables")["tables"].get(relation.identifier)
        return [made_column(*column) for column in table["columns"]] if table else []

    def columns_of_query(self: Any, sql: str) -> list[BigQueryColumn]:
        return [made_column(*column) for column in ask("columns", sql=sql)["columns"]]

    def drop(self: Any, relation: Any) -> None:
        self.cache.drop(relation)
        ask("drop", name=relation.identifier)

    def load(
        self: Any,
        project: str,
        dataset: str,
        table_name: str,
        table: Any,
        column_override: dict[str, str],
        field_delimiter: str,
    ) -> None:
        schema = self._agate_to_schema(table, column_override)
        kinds = [SEED_TYPES[field.field_type.upper()] for field in schema]
        ask(
            "load",
            name=table_name,
            columns=[[field.name, kind] for field, kind in zip(schema, kinds, strict=True)],
            rows=[
                [plain(cell, kind) for cell, kind in zip(row, kinds, strict=True)]
                for row in table.rows
            ],
        )

    BigQueryConnectionManager.open = classmethod(open_)
    BigQueryConnectionManager.close = classmethod(close)
    BigQueryConnectionManager.execute = execute
    BigQueryConnectionManager.cancel_open = lambda self: []
    BigQueryAdapter.list_relations_without_caching = relations
    BigQueryAdapter.get_columns_in_relation = columns_of
    BigQueryAdapter.get_columns_in_select_sql = columns_of_query
    BigQueryAdapter.get_column_schema_from_query = columns_of_query
    BigQueryAdapter.drop_relation = drop
    BigQueryAdapter.load_dataframe = load
    BigQueryAdapter.update_table_description = lambda *_, **__: None
    BigQueryAdapter.list_schemas = lambda self, name: ["ami"]
    BigQueryAdapter.create_schema = lambda self, relation: None
    BigQueryAdapter.check_schema_exists = lambda self, database, schema: True
    BigQueryAdapter.is_replaceable = lambda *_: True


SEED_TYPES = {
    "STRING": "STRING",
    "INTEGER": "INT64",
    "INT64": "INT64",
    "FLOAT64": "FLOAT64",
    "BOOLEAN": "BOOL",
    "BOOL": "BOOL",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    "DATETIME": "TIMESTAMP",
}


def plain(cell: Any, kind: str) -> Any:
    """A cell of a seed as JSON; naive times are UTC."""
    if kind == "TIMESTAMP" and isinstance(cell, str):
        cell = datetime.fromisoformat(cell)
    if isinstance(cell, datetime):
        aware = cell if cell.tzinfo else cell.replace(tzinfo=UTC)
        return (aware - EPOCH) // timedelta(microseconds=1)
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    return cell


def made_column(name: str, kind: str) -> BigQueryColumn:
    """dbt's column of a name and a BigQuery type."""
    return BigQueryColumn.create_from_field(field_of(name, kind))


def results(plan: dict[str, Any], database: GoogleSql) -> Iterator[Any]:
    """One result per step of the plan."""
    for step in plan["steps"]:
        if "load" in step:
            yield database.ask("load", **step["load"])
        elif "dbt" in step:
            yield ran(dbtRunner().invoke(step["dbt"]))
        elif "watch" in step:
            yield database.ask("watch", now_us=step["watch"])
        elif "ask" in step:
            yield database.ask("script", sql=step["ask"])
        elif "watched" in step:
            yield database.ask("watched")["reads"]
        else:
            there = database.ask("tables")["tables"]
            yield {
                name: database.ask("content", name=name) for name in step["dump"] if name in there
            }


def ran(done: Any) -> dict[str, Any]:
    """What a run of dbt says: per node its status and message."""
    nodes = getattr(done.result, "results", None) or []
    return {
        "success": done.success,
        "exception": str(done.exception) if done.exception else None,
        "nodes": {
            one.node.unique_id: {"status": str(one.status), "message": one.message} for one in nodes
        },
    }


def main(plan_path: str, answer_path: str) -> None:
    """Run the plan; the answer is written even when dbt fails."""
    plan = json.loads(Path(plan_path).read_text())
    with GoogleSql(Path(plan["python"])) as database:
        install(database)
        answer = list(results(plan, database))
    Path(answer_path).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
