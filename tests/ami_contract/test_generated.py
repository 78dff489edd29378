"""The derived forms of the contract are the committed ones and all say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pyarrow as pa
import pytest
import yaml

from ami_contract.reading import READING_FIELDS, ROW_FIELDS, ROW_SCHEMA, WIRE_SCHEMA
from ami_contract.registry import REGISTRY_FIELDS, REGISTRY_SCHEMA
from ami_contract.render import (
    COMPACTED_FIELDS,
    ROOT,
    bigquery_schema,
    dbt_sources,
    duckdb_ddl,
    duckdb_type,
    json_schema,
    protobuf_schema,
    rendered,
)
from ami_contract.settings import Settings

EXAMPLE = {
    "event_ts": "2025-12-23T08:00:01.000Z",
    "meter_id": "m_poleA_0007",
    "pole_id": "poleA",
    "seq": 123456,
    "voltage_v": 236.8,
    "current_a": 4.91,
    "power_kw": 1.10,
    "reactive_kvar": 0.25,
    "freq_hz": 60.02,
    "quality_flags": [],
}


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted(rendered(), key=str), ids=str)
def test_committed_file_equals_a_fresh_render(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == rendered()[path]


def test_no_generated_file_is_left_over() -> None:
    folder = ROOT / "ami_contract" / "generated"

    assert {p.relative_to(ROOT) for p in folder.iterdir()} <= set(rendered())


def test_every_setting_stands_in_the_example_environment() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    named = {line[2:].partition("=")[0] for line in lines if line.startswith("# AMI_")}

    assert named == {f"AMI_{name.upper()}" for name in Settings.model_fields}


def test_json_schema_accepts_the_example_reading() -> None:
    assert validator().is_valid(EXAMPLE)


@pytest.mark.parametrize("name", ["reactive_kvar", "freq_hz", "quality_flags"])
def test_json_schema_lets_an_optional_field_be_absent_or_null(name: str) -> None:
    assert validator().is_valid({k: v for k, v in EXAMPLE.items() if k != name})
    assert validator().is_valid(EXAMPLE | {name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_ts", 1766476801),
        ("meter_id", ""),
        ("meter_id", "meter 7"),
        ("pole_id", "p" * 129),
        ("seq", 1.5),
        ("seq", -1),
        ("seq", "7"),
        ("voltage_v", 1000.1),
        ("voltage_v", True),
        ("voltage_v", None),
        ("current_a", -0.1),
        ("power_kw", 10_001),
        ("freq_hz", 39.9),
        ("quality_flags", "estimated"),
        ("quality_flags", [1]),
    ],
)
def test_json_schema_refuses_a_bad_value(name: str, value: Any) -> None:
    assert not validator().is_valid(EXAMPLE | {name: value})


def test_json_schema_lets_newer_firmware_add_fields() -> None:
    assert validator().is_valid(EXAMPLE | {"phase": "L1"})


@pytest.mark.parametrize(
    ("fields", "schema"), [(READING_FIELDS, WIRE_SCHEMA), (ROW_FIELDS, ROW_SCHEMA)]
)
def test_arrow_schema_names_the_fields_and_their_units(fields: Any, schema: pa.Schema) -> None:
    assert schema.names == [f.name for f in fields]
    assert [f.metadata[b"unit"].decode() for f in schema] == [f.unit for f in fields]
    assert [not f.nullable for f in schema] == [f.required for f in fields]


@pytest.mark.parametrize("fields", [ROW_FIELDS, REGISTRY_FIELDS])
def test_bigquery_schema_names_the_same_columns_in_the_same_order(fields: Any) -> None:
    columns = json.loads(bigquery_schema(fields))

    assert [c["name"] for c in columns] == [f.name for f in fields]
    assert {c["name"] for c in columns if c["mode"] == "REQUIRED"} == {
        f.name for f in fields if f.required
    }


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("raw_meter_readings", ROW_FIELDS),
        ("compacted_readings", COMPACTED_FIELDS),
        ("meters", REGISTRY_FIELDS),
    ],
)
def test_duckdb_makes_the_tables_with_the_same_columns(table: str, fields: Any) -> None:
    with duckdb.connect() as con:
        con.execute(duckdb_ddl())
        found = con.execute(f"DESCRIBE {table}").fetchall()

    assert [(name, kind) for name, kind, *_ in found] == [
        (f.name, duckdb_type(f.type)) for f in fields
    ]


def test_duckdb_reads_an_arrow_row_into_its_table_unchanged() -> None:
    row: dict[str, Any] = {f.name: None for f in REGISTRY_FIELDS}
    row |= {"meter_id": "m1", "pole_id": "p1", "nominal_voltage_v": 240.0, "valid_from": 0}
    rows = pa.Table.from_pylist([row], REGISTRY_SCHEMA)
    with duckdb.connect() as con:
        con.execute(duckdb_ddl())
        con.register("rows", rows)
        con.execute("INSERT INTO meters SELECT * FROM rows")
        found = con.execute("SELECT meter_id, rated_kva, epoch(valid_from) FROM meters").fetchall()

    assert found == [("m1", None, 0.0)]


def test_dbt_sources_describe_every_column_of_every_lake_table() -> None:
    tables = yaml.safe_load(dbt_sources())["sources"][0]["tables"]

    assert {t["name"]: [c["name"] for c in t["columns"]] for t in tables} == {
        "raw_meter_readings": ROW_SCHEMA.names,
        "compacted_readings": [f.name for f in COMPACTED_FIELDS],
        "meters": REGISTRY_SCHEMA.names,
    }
    assert all(c["description"] for t in tables for c in t["columns"])


def test_a_type_no_warehouse_knows_is_refused() -> None:
    with pytest.raises(TypeError, match="binary"):
        duckdb_type(pa.binary())


def test_protobuf_names_every_field_of_a_reading_once_with_its_type() -> None:
    fields = re.findall(r"^  (repeated )?(\w+) (\w+) = (\d+);$", protobuf_schema(), re.MULTILINE)
    assert [name for _, _, name, _ in fields] == [f.name for f in READING_FIELDS]
    assert [int(number) for *_, number in fields] == list(range(1, len(fields) + 1))
    kinds = {name: rule + kind for rule, kind, name, _ in fields}
    assert kinds["event_ts"] == "string"
    assert kinds["seq"] == "int64"
    assert kinds["voltage_v"] == kinds["freq_hz"] == "double"
    assert kinds["quality_flags"] == "repeated string"
