"""The page of the data model describes every column of what people query."""

from __future__ import annotations

import re

from ami_contract.data_model import data_model, grain_of, read_models
from ami_contract.reading import ROW_FIELDS
from ami_contract.render import ROOT, data_model_page

COLUMN = re.compile(r"^\| `(\w+)` \| (\S*) \| (.*?) \| (.+) \|$", re.MULTILINE)
NUMBERS = ("INT64", "FLOAT64")


def sections() -> dict[str, str]:
    parts = re.split(r"^### (\w+)$", data_model_page(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_column_of_the_raw_table_stands_there_with_its_unit() -> None:
    found = {name: unit for name, _, unit, _ in COLUMN.findall(sections()["raw_meter_readings"])}

    assert list(found) == [f.name for f in ROW_FIELDS]
    assert found["voltage_v"] == "V"
    assert found["reactive_kvar"] == "kvar"
    assert found["seq"] == "1"


def test_every_table_has_a_grain_and_every_column_type_unit_and_meaning() -> None:
    lacking = []
    for table, text in sections().items():
        if "\nGrain: " not in text:
            lacking.append(table)
        for name, kind, unit, meaning in COLUMN.findall(text):
            if not kind or not meaning or (kind in NUMBERS and not unit):
                lacking.append(f"{table}.{name}")

    assert lacking == []


def test_every_model_people_query_has_a_section() -> None:
    folders = ("marts/*", "readings", "functions")
    models = {p.stem for f in folders for p in (ROOT / "dbt_ami/models").glob(f"{f}/*.sql")}

    assert models <= set(sections())
    assert sum(len(group) for group in read_models(ROOT).values()) == len(models)


def test_the_grain_is_what_data_tests_hold_a_model_to() -> None:
    combined = {"unique_combination_of_columns": {"arguments": {"combination": ["a", "b"]}}}
    columns = [{"name": "a"}, {"name": "b", "data_tests": ["unique"]}]

    assert grain_of({"name": "m", "columns": columns, "data_tests": [combined]}) == ("a", "b")
    assert grain_of({"name": "m", "columns": columns}) == ("b",)
    assert grain_of({"name": "m", "columns": columns[:1]}) == ()


def test_text_that_means_something_in_markdown_is_shown_as_it_is() -> None:
    column = {"name": "x", "data_type": "string", "description": "a|b of [s, e), * and _max. [kW]"}
    model = {"name": "m", "description": "A table.", "columns": [column]}

    page = data_model({}, {"Group": [model]}, str, "made")

    assert r"| `x` | STRING | kW | a\|b of \[s, e), \* and \_max. |" in page
