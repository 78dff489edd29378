"""`ami sql` and `ami ledger`: read lake and warehouse, give tables for people and programs."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import click
import typer

from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_store.ledger import LedgerRow, Window, balance
from ami_store.warehouse import query

FORMATS = ("table", "csv", "json")


def check_format(output: str) -> None:
    """Raise SettingsError unless `output` is one of `FORMATS`."""
    if output not in FORMATS:
        raise SettingsError(f"--format {output!r}: one of {', '.join(FORMATS)}")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        text = value.astimezone(UTC) if value.tzinfo else value
        return text.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def _cell(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(plain, list | dict):
        return json.dumps(plain)
    if isinstance(plain, float):
        return f"{plain:.6g}" if abs(plain) < 1e6 else f"{plain:.3f}"
    return str(plain)


def _distinct(columns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for name in columns:
        numbered = (f"{name}_{number}" for number in count(1))
        free = (each for each in numbered if each not in columns and each not in names)
        names.append(next(free) if name in names else name)
    return names


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], output: str) -> None:
    """Write rows to standard output as an aligned table, CSV or a JSON array of objects.

    Further columns of one name get a number in JSON, as DuckDB writes them: `x`, `x_1`.
    """
    if output == "json":
        names = _distinct(columns)
        found = [dict(zip(names, map(_plain, row), strict=True)) for row in rows]
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            plain = [_plain(value) for value in row]
            writer.writerow([json.dumps(v) if isinstance(v, list | dict) else v for v in plain])
    else:
        _print_table(columns, rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    right = [
        bool(rows)
        and all(
            row[i] is None or (isinstance(row[i], int | float) and not isinstance(row[i], bool))
            for row in rows
        )
        for i in range(len(columns))
    ]

    def line(values: Sequence[str]) -> str:
        aligned = [
            value.rjust(width) if is_right else value.ljust(width)
            for value, width, is_right in zip(values, widths, right, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    click.echo(line(columns))
    click.echo("  ".join("-" * width for width in widths))
    for row in cells:
        click.echo(line(row))
    click.echo(f"({len(rows)} row{'' if len(rows) == 1 else 's'})", err=True)


def print_query(settings: Settings, statement: str, output: str) -> None:
    """Answer one SELECT; raises WarehouseError."""
    check_format(output)
    answer = query(settings.data, statement)
    print_rows(answer.columns, answer.rows, output)


def print_ledger(settings: Settings, truth: Path | None, window: Window, output: str) -> None:
    """Print the balance of every meter; exit status 1 when it does not close."""
    check_format(output)
    ledger = balance(settings.data, truth, window)
    columns = [field.name for field in fields(LedgerRow)]
    print_rows(columns, [astuple(row) for row in [*ledger.rows, ledger.total]], output)
    for problem in ledger.problems:
        click.echo(f"does not balance: {problem}", err=True)
    if ledger.problems:
        raise typer.Exit(1)
    click.echo("the ledger closes", err=True)
