"""Statements of the API: constant text, every value a parameter, every parameter of a type."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_cases import CASES
from syntax import syntax_of

from ami_store import statements
from ami_store.serving import values_of
from ami_store.statements import (
    ANOMALIES,
    DR_WINDOW,
    PARAMETER_TYPES,
    STATEMENTS,
    TRACES,
    Statement,
    bigquery_text,
    duckdb_text,
)

ROOT = Path(__file__).resolve().parents[2]
# Where SQL meets what a client sent.
SERVING = [
    *sorted((ROOT / "ami_api").rglob("*.py")),
    ROOT / "ami_store" / "serving_bigquery.py",
]
_CONSTANTS = {"_POLE_COLUMNS", "_EVENT_COLUMNS", "_SERIES", "_QUALITY_SUMS"}
SQL = {"select", "with", "insert", "update", "delete", "create", "drop", "copy", "set"}


def test_every_statement_is_listed_has_a_case_and_only_parameters_of_known_type() -> None:
    defined = {name for name, value in vars(statements).items() if isinstance(value, Statement)}

    assert {id(getattr(statements, name)) for name in defined} == set(map(id, STATEMENTS))
    assert {statement.name for statement, _ in CASES} == {each.name for each in STATEMENTS}
    assert len({statement.name for statement in STATEMENTS}) == len(STATEMENTS)
    for statement in STATEMENTS:
        assert statement.parameters <= PARAMETER_TYPES.keys(), statement.name


def interpolated(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and source of what f-strings, %, + and format put into texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from (
                (node.lineno, ast.unparse(part.value))
                for part in node.values
                if isinstance(part, ast.FormattedValue)
            )


def test_texts_of_statements_are_made_of_constants_alone() -> None:
    tree = syntax_of((ROOT / "ami_store" / "statements.py").read_text(encoding="utf-8"))
    made = [
        node
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "Statement"
    ]

    assert len(made) > 20
    for node in made:
        assert isinstance(node.value, ast.Call)
        for line, source in interpolated(node):
            assert source in _CONSTANTS, line
        text = node.value.args[1]
        assert isinstance(text, ast.JoinedStr | ast.Constant), ast.unparse(node.target)


@pytest.mark.parametrize("path", SERVING, ids=lambda path: path.name)
def test_no_sql_is_built_where_requests_are_answered(path: Path) -> None:
    tree = syntax_of(path.read_text(encoding="utf-8"))

    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.lower().split()
            assert len(words) < 2 or words[0] not in SQL, node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in {"execute", "executemany", "sql"}, node.lineno


def test_duckdb_takes_values_by_name_and_type() -> None:
    text = duckdb_text(ANOMALIES)

    assert "@" not in text
    assert "start_ts >= $start::TIMESTAMPTZ" in text
    assert "limit $row_limit::BIGINT" in text
    assert "$pole_ids::VARCHAR[]" in duckdb_text(DR_WINDOW)
    assert "from readings_of($files::VARCHAR[])" in duckdb_text(TRACES, by_files=True)


def test_bigquery_finds_functions_by_their_dataset() -> None:
    assert "`p-1.ami`.dr_window(@start" in bigquery_text(DR_WINDOW, "p-1.ami")
    for name in ("ami`; drop table x", "a b", "", "a'b"):
        with pytest.raises(ValueError, match="no name of a dataset"):
            bigquery_text(DR_WINDOW, name)


def test_a_missing_or_unknown_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="takes"):
        values_of(ANOMALIES, {"start": 1}, 10)
    with pytest.raises(ValueError, match="takes"):
        values_of(DR_WINDOW, {**dict.fromkeys(DR_WINDOW.parameters), "more": 1}, 10)
