"""dbt from a shell: what it says, and lakes that are empty or hold one steady house."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
import yaml

from ami_contract.lake import DataDir

from .conftest import ROOT, Built, run_dbt, write_lake
from .fleet import Row


def test_build_passes_every_model_and_test_without_a_warning(built: Built) -> None:
    assert "ERROR=0" in built.output
    assert "WARN=0" in built.output
    assert "Deprecat" not in built.output


def test_an_empty_lake_builds_empty_marts(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    done = run_dbt(data, "build", "--exclude", "test_type:unit")

    assert done.returncode == 0, done.stdout
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        marts = (
            "readings",
            "voltage_events",
            "rms_variation_events",
            "outages",
            "comm_losses",
            "pole_events",
            "feeder_events",
            "sarfi_indices",
            "minute_agg_pole",
            "v_5min_pole",
            "pole_health_hourly",
            "pole_health_daily",
            "feeder_health_daily",
            "voltage_quality_daily",
            "voltage_quality_weekly",
            "meter_data_quality_hourly",
            "dim_meter",
            "dim_pole",
        )
        for mart in marts:
            assert con.execute(f"select count(*) from {mart}").fetchone() == (0,), mart


def test_a_steady_house_has_no_event_full_coverage_and_exact_energy(tmp_path: Path) -> None:
    """One meter at 230 V and one reading a minute for two days: 220 V is no sag there."""
    start = datetime(2008, 2, 1, tzinfo=UTC)
    stored: list[Row] = [
        {
            "event_ts": start + timedelta(minutes=minute),
            "meter_id": "house",
            "pole_id": "pole",
            "seq": minute,
            "voltage_v": 224.0 + minute % 20,
            "current_a": 4.0,
            "power_kw": (minute % 7) / 4,
            "reactive_kvar": 0.1,
            "freq_hz": None,
            "quality_flags": [],
            "batch_id": "b",
            "ingest_ts": datetime(2026, 1, 1, tzinfo=UTC),
            "event_date": (start + timedelta(minutes=minute)).date(),
        }
        for minute in range(2 * 1440)
    ]
    registry = [
        {
            "meter_id": "house",
            "pole_id": "pole",
            "nominal_voltage_v": 230.0,
            "sample_interval_ms": 60_000,
            "valid_from": start,
        }
    ]
    data = DataDir(tmp_path)
    write_lake(data, stored, registry)
    done = run_dbt(data, "build", "--resource-type", "model", "--resource-type", "seed")

    assert done.returncode == 0, done.stdout
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        assert con.execute("select count(*) from voltage_events").fetchone() == (0,)
        hours = con.execute(
            """
            select count(*), sum(expected), sum(received), sum(missing), min(score),
                round(sum(energy_kwh), 9), sum(valid_10min_intervals), max(pct_low), max(pct_high)
            from pole_health_hourly
            """
        ).fetchone()
        kwh = round(sum(r["power_kw"] for r in stored) / 60, 9)
        assert hours == (48, 2880, 2880, 0, 100.0, kwh, 288, 0.0, 0.0)
        slots = con.execute(
            "select count(*), min(coverage), count(dr_power_kw), min(readings) from v_5min_pole"
        ).fetchone()
        assert slots == (576, 1.0, 576, 5)
        minutes = con.execute(
            "select count(*), min(coverage), min(readings), sum(power_kw) / 60 from minute_agg_pole"
        ).fetchone()
        assert minutes == (2880, 1.0, 1, pytest.approx(kwh))


def test_every_column_of_every_model_is_described(built: Built) -> None:
    described: dict[str, set[str]] = {}
    folders = (ROOT / "dbt_ami" / "models", ROOT / "dbt_ami" / "seeds")
    for path in (path for folder in folders for path in folder.rglob("*.yml")):
        content = yaml.safe_load(path.read_text())
        for model in content.get("models", []) + content.get("seeds", []):
            described[model["name"]] = {c["name"] for c in model["columns"] if c.get("description")}
    columns: dict[str, set[str]] = {}
    for table, column in built.con.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = 'main'"
        " and not internal"
    ).fetchall():
        columns.setdefault(table, set()).add(column)
    # As a reader does who sees the lake of the moment.
    built.con.execute("set search_path = 'main,lake'")
    for function, parameters in built.con.execute(
        "select function_name, len(parameters) from duckdb_functions()"
        " where schema_name = 'main' and function_type = 'table_macro' and not internal"
    ).fetchall():
        given = ", ".join(["null"] * parameters)
        shape = built.con.execute(f"describe select * from {function}({given})").fetchall()
        columns[function] = {row[0] for row in shape}
    built.con.execute("reset search_path")

    assert described == columns
