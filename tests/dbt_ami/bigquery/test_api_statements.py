"""The API's statements on BigQuery's terms: GoogleSQL accepts them and gives DuckDB's rows.

Rows of table functions, which this judge cannot make, are those that DuckDB gives.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from serving_cases import CASES
from small_warehouse import SAG, columns_of_marts, publish_small, rows_of_marts
from support import stored_rows

from ami_contract.lake import DataDir, floor_hour
from ami_store.lake import land
from ami_store.serving import DuckDbServing, values_of
from ami_store.statements import (
    LIVE_TRACES,
    PARAMETER_TYPES,
    STATEMENTS,
    Statement,
    bigquery_text,
)

from .googlesql import GoogleSql
from .warehouses import Rows, differences, load_step, plain

DATASET = "project.dataset"
FUNCTION = re.compile(rf"`{DATASET}`\.(\w+)\([^)]*\)")
PARAMETER = re.compile(r"@(\w+)")


def literal(name: str, value: Any) -> str:
    """A value as GoogleSQL writes it, of the parameter's declared type."""
    kind = PARAMETER_TYPES[name]
    if value is None:
        return f"cast(null as {kind})"
    if kind == "ARRAY<STRING>":
        return f"[{', '.join(repr(str(item)) for item in value)}]"
    if isinstance(value, datetime):
        return f"timestamp '{value.isoformat()}'"
    if isinstance(value, date):
        return f"date '{value.isoformat()}'"
    return str(value) if kind in ("INT64", "FLOAT64") else repr(str(value))


def judged_text(statement: Statement, values: dict[str, Any], tables: set[str]) -> str:
    """The statement with its values in place, as this judge takes it."""
    given = values_of(statement, values, statement.row_limit)
    sql = FUNCTION.sub(r"\1", bigquery_text(statement, DATASET))
    for table in tables:
        sql = re.sub(rf"\b(from|join) {table}\b", rf"\1 `p`.`d`.`{table}`", sql)
    return PARAMETER.sub(lambda found: literal(found[1], given[found[1]]), sql)


def small_rows() -> dict[str, list[dict[str, Any]]]:
    """The small warehouse with as few slots as tell the same."""
    rows = rows_of_marts()
    rows["v_5min_pole"] = rows["v_5min_pole"][400:700]
    rows["pole_health_hourly"] = [
        row for row in rows["pole_health_hourly"] if row["pole_id"] == "p1"
    ]
    rows["readings"] = rows["readings"][100:160]
    rows["recent_rows"] = rows["voltage_events"][:2]
    return rows


def land_live(data: DataDir) -> list[dict[str, Any]]:
    """Land readings around the sag that no build has seen, one of them twice; their rows."""
    first = stored_rows(SAG - timedelta(seconds=2), [240.0, 239.0, 200.0, 201.0], meter_id="m1")
    others = [
        stored_rows(SAG, [200.0], meter_id="m1", ingest_ts=SAG + timedelta(minutes=1)),
        stored_rows(SAG, [230.0, 231.0], meter_id="m2"),
        stored_rows(SAG, [220.0], meter_id="m3", pole_id="p2"),
    ]
    parts = [first, *others]
    for number, part in enumerate(parts):
        land(data, floor_hour(SAG), f"live-{number}", part)
    return [row for part in parts for row in part.to_pylist()]


def test_googlesql_gives_the_rows_of_duckdb_for_every_statement(
    googlesql: Path, tmp_path: Path
) -> None:
    data = DataDir(tmp_path / "data")
    rows = small_rows()
    publish_small(data, rows)
    warehouse = DuckDbServing(data)
    warehouse.refresh()
    tables = columns_of_marts("bigquery")
    live = land_live(data)
    functions = {"dr_window"}
    different: dict[str, list[str]] = {}
    with GoogleSql(googlesql) as judge, warehouse.lease() as snapshot:
        for name, columns in tables.items():
            cells = [
                [plain(row.get(column)) for column, _ in columns] for row in rows.get(name, [])
            ]
            judge.ask("load", name=name, columns=[[c, k.upper()] for c, k in columns], rows=cells)
        judge.ask("load", **load_step("raw_meter_readings", live)["load"])
        for statement, values in CASES:
            used = {name for name in functions if f"{name}(" in statement.sql}
            for name in used:
                load_function(judge, snapshot, name, values)
            if "recent_sag_events(" in statement.sql:
                load_recent(judge, tables["voltage_events"], rows["recent_rows"])
                used.add("recent_sag_events")
            expected = snapshot.query(statement, values, 30)
            names = {*tables, *used, "raw_meter_readings"}
            found = judge.ask("script", sql=judged_text(statement, values, names))
            if statement is LIVE_TRACES:
                assert [row["voltage_v"] for row in expected] == [200.0, 230.0, 201.0, 231.0]
            lines = differences(as_rows(expected, found), as_found(found))
            if lines:
                different[statement.name] = lines[:3]
    warehouse.close()

    assert different == {}
    assert {statement for statement, _ in CASES} == set(STATEMENTS)


def load_function(judge: GoogleSql, snapshot: Any, name: str, values: dict[str, Any]) -> None:
    """Load what a table function gives on DuckDB as a table of its name."""
    every = Statement(name, f"select * from {name}(@start, @end, @pole_ids)", 100_000)
    rows = snapshot.query(every, {k: values[k] for k in ("start", "end", "pole_ids")}, 30)
    kinds = {bool: "BOOL", int: "INT64", float: "FLOAT64", str: "STRING", datetime: "TIMESTAMP"}
    columns = []
    for column in rows[0]:
        known = [row[column] for row in rows if row[column] is not None]
        columns.append([column, kinds[type(known[0])] if known else "FLOAT64"])
    cells = [[plain(row[column]) for column, _ in columns] for row in rows]
    judge.ask("load", name=name, columns=columns, rows=cells)


def load_recent(
    judge: GoogleSql, columns: list[tuple[str, str]], rows: list[dict[str, Any]]
) -> None:
    """Load the events of the live tail as the function gives them."""
    kept = [[column, kind.upper()] for column, kind in columns if column != "scope"]
    cells = [[plain(row[column]) for column, _ in kept] for row in rows]
    judge.ask("load", name="recent_sag_events", columns=kept, rows=cells)


def as_found(answer: dict[str, Any]) -> Rows:
    """An answer of the judge."""
    floats = {column for column, kind in answer["columns"] if kind == "FLOAT64"}
    return Rows([column for column, _ in answer["columns"]], floats, answer["rows"])


def as_rows(rows: list[dict[str, Any]], answer: dict[str, Any]) -> Rows:
    """Rows of DuckDB, with the columns and kinds that the judge tells."""
    found = as_found(answer)
    return Rows(
        list(rows[0]) if rows else found.columns,
        found.floats,
        [[plain(value) for value in row.values()] for row in rows],
    )


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("pole_id", "p'1", '"p\'1"'),
        ("pole_ids", ["a", "b"], "['a', 'b']"),
        ("min_duration_s", 1.5, "1.5"),
        ("scope", None, "cast(null as STRING)"),
    ],
)
def test_values_are_written_as_googlesql_reads_them(name: str, value: Any, text: str) -> None:
    assert literal(name, value) == text
