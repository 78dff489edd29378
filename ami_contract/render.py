"""Every derived form of the contract, rendered from `reading`, `registry` and `settings`.

`python -m ami_contract.render` writes the files; a test renders them again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import yaml
from pydantic_core import PydanticUndefined

from ami_contract.data_model import data_model, read_models
from ami_contract.live import LIVE_AGGREGATE_FIELDS
from ami_contract.reading import (
    IDENTIFIER_PATTERN,
    KNOWN_QUALITY_FLAGS,
    READING_FIELDS,
    ROW_FIELDS,
    SCHEMA_VERSION,
    Field,
)
from ami_contract.registry import REGISTRY_FIELDS
from ami_contract.settings import Settings

ROOT: Final = Path(__file__).resolve().parent.parent
GENERATED: Final = Path("ami_contract/generated")
HEADER: Final = "Made by `python -m ami_contract.render`; edit ami_contract/ instead."

COPIES_FIELD: Final = Field(
    "copies", pa.int64(), "", True, "Stored copies of the reading, this one included.", 1
)
CONFLICTS_FIELD: Final = Field(
    "conflicting_copies",
    pa.int64(),
    "",
    True,
    "Copies whose measured values differ from this one's.",
    0,
)
_STEP: Final = "Step of seq {} the meter's reading {} it in event_ts order; NULL: none in the hour."
# What a scan for few readings would else need a second scan, or the list of flags, for.
BESIDE_FIELDS: Final = (
    Field("flag_text", pa.string(), "", False, "quality_flags joined by commas; NULL: none."),
    Field("seq_step_before", pa.int64(), "", False, _STEP.format("from", "before")),
    Field("seq_step_after", pa.int64(), "", False, _STEP.format("to", "after")),
)
COMPACTED_FIELDS: Final = (*ROW_FIELDS, COPIES_FIELD, CONFLICTS_FIELD, *BESIDE_FIELDS)

_BIGQUERY: Final = {
    pa.types.is_timestamp: "TIMESTAMP",
    pa.types.is_date: "DATE",
    pa.types.is_string: "STRING",
    pa.types.is_int64: "INT64",
    pa.types.is_float64: "FLOAT64",
}
_DUCKDB: Final = {
    pa.types.is_timestamp: "TIMESTAMP WITH TIME ZONE",
    pa.types.is_date: "DATE",
    pa.types.is_string: "VARCHAR",
    pa.types.is_int64: "BIGINT",
    pa.types.is_float64: "DOUBLE",
}


def _sql_type(type_: pa.DataType, names: dict[Any, str]) -> str:
    for predicate, name in names.items():
        if predicate(type_):
            return name
    raise TypeError(f"no SQL type for Arrow type {type_}")


def duckdb_type(type_: pa.DataType) -> str:
    """DuckDB name of an Arrow type of the contract; raises TypeError for any other."""
    if pa.types.is_list(type_):
        return f"{_sql_type(type_.value_type, _DUCKDB)}[]"
    return _sql_type(type_, _DUCKDB)


def _described(field: Field) -> str:
    return f"{field.description} [{field.unit}]" if field.unit else field.description


def json_schema() -> str:
    """JSON Schema (2020-12) of one reading on the wire."""
    properties: dict[str, Any] = {}
    for f in READING_FIELDS:
        item: dict[str, Any] = {"description": _described(f)}
        if pa.types.is_timestamp(f.type):
            item |= {"type": "string", "format": "date-time"}
        elif pa.types.is_list(f.type):
            item |= {
                "type": "array",
                "items": {"type": "string"},
                "examples": [[flag] for flag in KNOWN_QUALITY_FLAGS],
                "default": [],
            }
        elif pa.types.is_string(f.type):
            item |= {"type": "string", "pattern": IDENTIFIER_PATTERN}
        else:
            item["type"] = "integer" if pa.types.is_integer(f.type) else "number"
            item |= {"minimum": f.minimum} if f.minimum is not None else {}
            item |= {"maximum": f.maximum} if f.maximum is not None else {}
        if not f.required:
            item["type"] = [item["type"], "null"]
        properties[f.name] = item
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": HEADER,
        "title": "AMI 2.0 reading",
        "version": SCHEMA_VERSION,
        "type": "object",
        "required": [f.name for f in READING_FIELDS if f.required],
        "properties": properties,
        "additionalProperties": True,
    }
    return json.dumps(schema, indent=2) + "\n"


def bigquery_schema(fields: Sequence[Field] = ROW_FIELDS) -> str:
    """BigQuery table schema (JSON) of `fields`."""
    columns = []
    for f in fields:
        repeated = pa.types.is_list(f.type)
        columns.append(
            {
                "name": f.name,
                "type": _sql_type(f.type.value_type if repeated else f.type, _BIGQUERY),
                "mode": "REPEATED" if repeated else "REQUIRED" if f.required else "NULLABLE",
                "description": _described(f),
            }
        )
    return json.dumps(columns, indent=2) + "\n"


_PROTO: Final = {
    pa.types.is_timestamp: "string",
    pa.types.is_string: "string",
    pa.types.is_int64: "int64",
    pa.types.is_float64: "double",
}


def protobuf_schema() -> str:
    """Protocol buffer of one reading, for Pub/Sub's schema of JSON messages.

    Times are RFC 3339 text, as on the wire. Names and types are checked so, ranges and whether a
    field is there are not. A field's number is its place in the contract: new ones go at the end.
    """
    fields = []
    for number, f in enumerate(READING_FIELDS, start=1):
        repeated = pa.types.is_list(f.type)
        kind = _sql_type(f.type.value_type if repeated else f.type, _PROTO)
        rule = "repeated " if repeated else ""
        fields.append(f"  // {_described(f)}\n  {rule}{kind} {f.name} = {number};\n")
    return f'// {HEADER}\nsyntax = "proto3";\n\nmessage Reading {{\n' + "".join(fields) + "}\n"


def duckdb_ddl() -> str:
    """DuckDB `CREATE TABLE` statements of the lake's tables."""
    statements = []
    for table, fields in LAKE_TABLES.items():
        columns = ",\n".join(
            f"    {f.name} {duckdb_type(f.type)}" + (" NOT NULL" if f.required else "")
            for f in fields
        )
        statements.append(f"CREATE TABLE {table} (\n{columns}\n);\n")
    return f"-- {HEADER}\n" + "\n".join(statements)


LAKE_TABLES: Final[dict[str, tuple[Field, ...]]] = {
    "raw_meter_readings": ROW_FIELDS,
    "compacted_readings": COMPACTED_FIELDS,
    "meters": REGISTRY_FIELDS,
}

_TABLE_DESCRIPTIONS: Final = {
    "raw_meter_readings": "All stored readings, one row per copy; duplicates possible.",
    "compacted_readings": "Stored readings of compacted hours, one row per "
    "(meter_id, seq, event_ts), sorted by meter, time and seq. DuckDB only.",
    "meters": "Registry of the fleet, one row per meter and period of service.",
}


# Newest reading of the last days, so that BigQuery reads few partitions: `dbt source freshness`.
_TABLE_CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "raw_meter_readings": {
        "config": {
            "loaded_at_field": "event_ts",
            "freshness": {
                "warn_after": {"count": 2, "period": "minute"},
                "error_after": {"count": 15, "period": "minute"},
                "filter": "date(event_ts) >= current_date - 3",
            },
        }
    }
}


def dbt_sources() -> str:
    """dbt source definition of the lake, with the Dagster asset each table is."""
    tables = [
        {
            "name": table,
            "description": _TABLE_DESCRIPTIONS[table],
            "meta": {"dagster": {"asset_key": [table]}},
            **_TABLE_CONFIGS.get(table, {}),
            "columns": [{"name": f.name, "description": _described(f)} for f in fields],
        }
        for table, fields in LAKE_TABLES.items()
    ]
    schema = "{{ 'lake' if target.type == 'duckdb' else target.schema }}"
    source = {
        "name": "lake",
        "description": "What the ingest stored.",
        "schema": schema,
        "tables": tables,
    }
    return f"# {HEADER}\n" + yaml.safe_dump(
        {"version": 2, "sources": [source]}, sort_keys=False, width=100, allow_unicode=True
    )


def data_model_page(root: Path = ROOT) -> str:
    """`docs/data-model.md`: every column of stored tables and of the models that people query."""
    tables = {
        "raw_meter_readings": (
            _TABLE_DESCRIPTIONS["raw_meter_readings"],
            "none; a reading is meter_id, seq, event_ts, and may be stored more than once",
            ROW_FIELDS,
        ),
        "meters": (_TABLE_DESCRIPTIONS["meters"], "meter_id, valid_from", REGISTRY_FIELDS),
        "minute_agg_pole_live": (
            "Windows of poles as the streaming pipeline counts them; BigQuery only.",
            "pole_id, window_s, window_start, pane, computed_ts",
            LIVE_AGGREGATE_FIELDS,
        ),
    }
    models = read_models(root)
    return data_model(tables, models, lambda type_: _sql_type(type_, _BIGQUERY), HEADER)


def env_example() -> str:
    """`.env.example`: every setting with its description and default."""
    lines = [f"# {HEADER}", "# Copy to .env and uncomment what you change.", ""]
    for name, info in Settings.model_fields.items():
        default = "" if info.default in (None, PydanticUndefined) else info.default
        lines += [f"# {info.description}", f"# AMI_{name.upper()}={default}", ""]
    return "\n".join(lines)


def rendered() -> dict[Path, str]:
    """All derived files, by path relative to the project's root."""
    sources = dbt_sources()
    return {
        GENERATED / "reading.schema.json": json_schema(),
        GENERATED / "reading.proto": protobuf_schema(),
        GENERATED / "raw_meter_readings.bigquery.json": bigquery_schema(),
        GENERATED / "minute_agg_pole_live.bigquery.json": bigquery_schema(LIVE_AGGREGATE_FIELDS),
        GENERATED / "meters.bigquery.json": bigquery_schema(REGISTRY_FIELDS),
        GENERATED / "lake.duckdb.sql": duckdb_ddl(),
        GENERATED / "lake.dbt_sources.yml": sources,
        Path("dbt_ami/models/staging/_lake__sources.yml"): sources,
        Path(".env.example"): env_example(),
        Path("docs/data-model.md"): data_model_page(),
    }


def main() -> None:
    """Write all derived files below the project's root."""
    for path, text in rendered().items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
