"""The page of the data model: reads the contract's tables and dbt's model files, gives Markdown.

Every column stands there with its type, unit and meaning, every table with the columns that make a
row unique.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import yaml

from ami_contract.reading import Field

MODELS: Final = Path("dbt_ami/models")
_GROUPS: Final = {
    "Readings": ("readings",),
    "Monitoring": ("marts/monitoring",),
    "Demand response": ("marts/demand_response",),
    "Meters and poles": ("marts/dimensions",),
    "Table functions": ("functions",),
}
_INTRODUCTION: Final = """\
# Data model

Tables and columns with types, units and what makes a row unique (*grain*). Unit 1 is a ratio or a \
number without dimension; a blank one belongs to text, flags and days. Times are UTC. What the \
words mean stands in [definitions](definitions.md).

Types are named as in BigQuery; DuckDB's `BIGINT`, `DOUBLE`, `VARCHAR` and `TIMESTAMP WITH TIME \
ZONE` stand for `INT64`, `FLOAT64`, `STRING` and `TIMESTAMP`. Intermediate models are described in \
`dbt_ami/models/intermediate/`, and columns with what they are computed of on the pages of the \
assets in Dagster.
"""
# `[UTC]` at the end; brackets of half-open intervals are no units.
_UNIT: Final = re.compile(r"\s*\[([^\[\])]+)\]$")
_TYPE: Final = re.compile(r"'(int64|float64|timestamp)'")
# What no data test says: a view, and functions that give the columns of marts without an event.
_GRAINS: Final = {
    "readings": ("meter_id", "epoch", "seq"),
    "dr_window": ("grain", "pole_id", "method", "adjustment", "slot_ts"),
    "dr_window_performance": ("pole_id", "method", "adjustment", "slot_ts"),
    "dr_window_summary": ("pole_id", "method", "adjustment"),
    "dr_window_totals": ("method", "adjustment"),
    "recent_sag_events": ("event_id",),
}
# Columns that only the view `readings` and functions have.
_TYPES: Final = {
    "grain": "STRING",
    "known_poles": "INT64",
    "copies": "INT64",
    "epoch": "INT64",
    "is_received": "BOOLEAN",
    "is_late": "BOOLEAN",
    "flag_text": "STRING",
    "seq_step_before": "INT64",
    "seq_step_after": "INT64",
}
_NUMBERS: Final = ("INT64", "FLOAT64")


def data_model(
    tables: Mapping[str, tuple[str, str, Sequence[Field]]],
    models: Mapping[str, Sequence[Mapping[str, Any]]],
    type_name: Callable[[pa.DataType], str],
    header: str,
) -> str:
    """The page as Markdown.

    Args:
        tables: description, grain and fields of the contract's tables, by name.
        models: dbt's models by heading.
        type_name: a warehouse's name of an Arrow type.
        header: who made the page.
    """
    parts = [f"<!-- {header} -->\n\n{_INTRODUCTION}", "## Stored tables\n"]
    for name, (description, grain, fields) in tables.items():
        rows = [(f.name, _contract_type(f, type_name), f.unit, f.description) for f in fields]
        parts.append(_table(name, description, grain, rows))
    everything = [model for group in models.values() for model in group]
    # Views and functions have no contract: their columns are those of the same name elsewhere.
    known = _TYPES | {
        f.name: _contract_type(f, type_name) for *_, fields in tables.values() for f in fields
    }
    known |= {c["name"]: _type(c) for model in everything for c in model["columns"] if _type(c)}
    for heading, group in models.items():
        parts.append(f"## {heading}\n")
        for model in sorted(group, key=lambda model: str(model["name"])):
            columns = [_model_column(column, known) for column in model["columns"]]
            parts.append(
                _table(model["name"], model["description"], ", ".join(grain_of(model)), columns)
            )
    return "\n".join(parts)


def read_models(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Models that people query, by heading, from the yml files of dbt."""
    return {
        heading: [
            model
            for folder in folders
            for path in sorted((root / MODELS / folder).glob("*__models.yml"))
            for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        ]
        for heading, folders in _GROUPS.items()
    }


def grain_of(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that make a row of a dbt model unique, as its data tests hold it to; () if untold."""
    if model["name"] in _GRAINS:
        return _GRAINS[model["name"]]
    for test in _tests(model):
        if "unique_combination_of_columns" in test:
            return tuple(test["unique_combination_of_columns"]["arguments"]["combination"])
    for column in model["columns"]:
        if "unique" in column.get("data_tests", ()):
            return (str(column["name"]),)
    for test in _tests(model):
        # Spans of one unit that never overlap begin at different times.
        if "never_overlaps" in test:
            arguments = test["never_overlaps"]["arguments"]
            return (str(arguments["unit"]), str(arguments["from_column"]))
    return ()


def _tests(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (test for test in model.get("data_tests", ()) if isinstance(test, Mapping))


def _contract_type(field: Field, type_name: Callable[[pa.DataType], str]) -> str:
    if pa.types.is_list(field.type):
        return f"ARRAY<{type_name(field.type.value_type)}>"
    return type_name(field.type)


def _type(column: Mapping[str, Any]) -> str:
    written = str(column.get("data_type", ""))
    named = _TYPE.search(written)
    return (named[1] if named else written).upper()


def _model_column(column: Mapping[str, Any], known: Mapping[str, str]) -> tuple[str, str, str, str]:
    text = " ".join(str(column["description"]).split())
    unit = _UNIT.search(text)
    return (
        str(column["name"]),
        _type(column) or known.get(str(column["name"]), ""),
        unit[1] if unit else "",
        text[: unit.start()] if unit else text,
    )


def _table(
    name: str, description: str, grain: str, columns: Sequence[tuple[str, str, str, str]]
) -> str:
    lines = [f"### {name}\n", _escaped(" ".join(description.split())) + "\n"]
    if grain:
        lines.append(f"Grain: {grain}.\n")
    lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column, kind, unit, text in columns:
        shown = unit or ("1" if kind in _NUMBERS else "")
        lines.append(f"| `{column}` | {_escaped(kind)} | {shown} | {_escaped(text)} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([|*<\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", text)
