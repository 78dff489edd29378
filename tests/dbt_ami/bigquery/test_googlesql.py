"""The BigQuery target judged by GoogleSQL itself: the same rows as DuckDB, every test executed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ami_contract.lake import DataDir

from ..fleet import START, Row
from .conftest import MODELS_ONLY, WITH_VARS
from .warehouses import (
    Rows,
    built_tables,
    dbt_arguments,
    differences,
    duckdb_rows,
    googlesql_rows,
    load_step,
    run_plan,
)

pytestmark = pytest.mark.timeout(2400)

# What it holds depends on the builds before: the test of restated days looks at its rows.
HISTORY = "superseded_events"


# A window like that of the lake's event with days to compare with, but on another day.
WINDOW = "('2026-02-26T16:00:00Z', '2026-02-26T16:30:00Z', ['pole1E'])"
WINDOW_CALLS = [
    f"{name}{WINDOW}"
    for name in ("dr_window", "dr_window_performance", "dr_window_summary", "dr_window_totals")
]


def failures(ran: dict[str, Any]) -> str:
    """Nodes of a dbt run that did not succeed, with what GoogleSQL says."""
    bad = {
        name: node["message"]
        for name, node in ran["nodes"].items()
        if node["status"] not in ("success", "pass", "warn")
    }
    return "\n".join([str(ran["exception"] or ""), *(f"{n}: {m}" for n, m in bad.items())])


def assert_same(expected: dict[str, Rows], actual: dict[str, Rows]) -> None:
    """Fail for models without a row to compare, and with the first differences of each model."""
    assert [name for name, rows in expected.items() if not rows.rows] == []
    different = {name: differences(expected[name], actual[name])[:3] for name in expected}
    assert {name: lines for name, lines in different.items() if lines} == {}


def test_googlesql_accepts_and_executes_every_statement_of_a_build(
    sources: dict[str, list[Row]], googlesql: Path, project: Path, tmp_path: Path
) -> None:
    steps = [load_step(name, []) for name in sources]
    steps += [{"dbt": dbt_arguments(project, tmp_path, "googlesql", "build", *MODELS_ONLY)}]

    *_, ran = run_plan(googlesql, tmp_path, steps)

    assert ran["success"], failures(ran)


@pytest.mark.slow
def test_every_model_gives_the_same_rows_on_both_warehouses(
    sources: dict[str, list[Row]],
    duckdb_data: DataDir,
    googlesql: Path,
    project: Path,
    tmp_path: Path,
) -> None:
    names = built_tables(duckdb_data.root / "target" / "manifest.json")
    steps = [load_step(name, rows) for name, rows in sources.items()]
    steps += [
        {"dbt": dbt_arguments(project, tmp_path, "googlesql", "build", *MODELS_ONLY)},
        {"dump": names},
        *({"ask": f"select * from `p`.`d`.{_spelled(call)}"} for call in WINDOW_CALLS),
    ]

    results = run_plan(googlesql, tmp_path, steps)
    ran, dump, *windows = results[len(sources) :]

    assert ran["success"], failures(ran)
    assert dump.pop(HISTORY)["rows"] == []
    names.remove(HISTORY)
    assert_same(duckdb_rows(duckdb_data, names), googlesql_rows(dump))
    answers = dict(zip(WINDOW_CALLS, windows, strict=True))
    assert_same(duckdb_rows(duckdb_data, WINDOW_CALLS), googlesql_rows(answers))


def _spelled(call: str) -> str:
    """A call with its instants as GoogleSQL writes them, and its name quoted."""
    name, arguments = call.split("(", 1)
    spelled = arguments.replace("'2026", "timestamp '2026")
    return f"`{name}`({spelled}"


@pytest.mark.slow
def test_restating_changed_days_equals_building_anew(
    sources: dict[str, list[Row]],
    duckdb_data: DataDir,
    googlesql: Path,
    project: Path,
    tmp_path: Path,
) -> None:
    names = built_tables(duckdb_data.root / "target" / "manifest.json")
    registry = load_step("meters", sources["meters"])
    stored = sources["raw_meter_readings"]
    on_time = [row for row in stored if row["seq"] % 7]
    first = min(stored, key=lambda row: row["event_ts"])
    expiring = {
        **first,
        "event_ts": first["event_ts"] - timedelta(days=1),
        "event_date": first["event_date"] - timedelta(days=1),
        "voltage_v": 100.0,
        "seq": first["seq"] + 1000,
    }
    build = {"dbt": dbt_arguments(project, tmp_path, "googlesql", "build", *MODELS_ONLY)}
    steps = [registry, load_step("raw_meter_readings", [*on_time, expiring]), build]
    # Late readings, and a day that went with its partition.
    recent = f"select * from `p`.`d`.`recent_sag_events`(timestamp '{START:%Y-%m-%d %H:%M:%S}+00')"
    steps += [
        {"dump": ["voltage_events"]},
        load_step("raw_meter_readings", stored),
        {"ask": recent},
        build,
        {"dump": names},
        {"ask": recent},
    ]

    *_, first_run, before, _, found, second_run, dump, none = run_plan(googlesql, tmp_path, steps)

    assert first_run["success"], failures(first_run)
    assert second_run["success"], failures(second_run)
    assert dump.pop(HISTORY)["rows"], "no event was superseded"
    events_before, events_after = (
        {tuple(row[:-1]) for row in table["rows"]}
        for table in (before["voltage_events"], dump["voltage_events"])
    )
    assert found["rows"]
    assert {tuple(row) for row in found["rows"]} == events_after - events_before
    assert none["rows"] == []
    names.remove(HISTORY)
    assert_same(duckdb_rows(duckdb_data, names), googlesql_rows(dump))


@pytest.mark.slow
def test_data_tests_and_unit_tests_pass_on_googlesql(
    sources: dict[str, list[Row]], googlesql: Path, project: Path, tmp_path: Path
) -> None:
    steps = [load_step(name, rows) for name, rows in sources.items()]
    steps += [{"dbt": dbt_arguments(project, tmp_path, "googlesql", "build", *WITH_VARS)}]

    *_, ran = run_plan(googlesql, tmp_path, steps)

    assert ran["success"], failures(ran)
    kinds = {name.split(".")[0] for name in ran["nodes"]}
    assert {"model", "test", "unit_test"} <= kinds
