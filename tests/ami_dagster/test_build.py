"""`build_pending`: everything pending through Dagster, once."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import dagster as dg
from built_platform import Built
from dagster_dbt import DbtCliResource
from support import HOUR

from ami_contract.lake import partition_key
from ami_dagster.build import DBT_PROJECT_DIR
from ami_dagster.defs.analytics.assets import LeanDbt, dbt_project, dbt_resource, prune_targets
from ami_dagster.local_run import build_pending, instance_of
from ami_store.warehouse import query


def test_a_build_succeeds_and_says_what_it_did(built: Built) -> None:
    assert built.outcome.failures == []
    assert built.outcome.hours == 2
    assert "registered 2 landed hours" in built.lines


def test_the_sag_across_the_full_hour_is_one_event(built: Built) -> None:
    answer = query(
        built.data,
        "SELECT meter_id, start_ts, end_ts, duration_s, min_voltage_v, sample_count "
        "FROM voltage_events",
    )
    [(meter_id, start_ts, end_ts, duration_s, min_voltage_v, sample_count)] = answer.rows
    assert meter_id == "m1"
    assert start_ts.astimezone(UTC) == datetime(2026, 3, 1, 14, 59, 57, tzinfo=UTC)
    assert end_ts.astimezone(UTC) == datetime(2026, 3, 1, 15, 0, 2, tzinfo=UTC)
    assert (duration_s, min_voltage_v, sample_count) == (6, 198.0, 6)


def test_plain_names_are_known_in_the_published_warehouse(built: Built) -> None:
    counts = {
        name: query(built.data, f"SELECT count(*) FROM {name}").rows[0][0]
        for name in ("raw_meter_readings", "readings", "pole_health_hourly", "v_5min_pole")
    }
    assert counts == {
        "raw_meter_readings": 2400,
        "readings": 2400,
        "pole_health_hourly": 2,
        # In service from 14:00 on; the last reading is of 15:09:59.
        "v_5min_pole": 14,
    }


def test_both_hours_are_materialized_partitions(environment: Built) -> None:
    keys = {partition_key(HOUR), "2026-03-01-15:00"}
    with instance_of(environment.data.dagster_home) as instance:
        for name in ("raw_meter_readings", "compacted_readings"):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == keys


def test_only_the_newest_artifacts_of_runs_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        for name in (f"dbt_models-{number}", f"calendar_models-{number}"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "run_results.json").write_text("{}")
            os.utime(folder, (number * 2 + ("dbt" in name), number * 2 + ("dbt" in name)))
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "bigquery").mkdir()
    prune_targets(tmp_path, keep=3)
    assert {path.name for path in tmp_path.iterdir()} == {
        "dbt_models-4",
        "calendar_models-4",
        "dbt_models-3",
        "manifest.json",
        "bigquery",
    }


def test_dbt_starts_without_what_dagster_adds_before_it() -> None:
    dbt = dbt_resource(dbt_project(DBT_PROJECT_DIR))
    assert type(dbt) is LeanDbt
    assert str(dbt._cli_version) == version("dbt-core")
    # Names of the library's own: another version of it may call them otherwise.
    for name in ("_cli_version", "_initialize_dbt_core_adapter"):
        assert hasattr(DbtCliResource, name)


def test_a_second_build_has_nothing_to_do(environment: Built) -> None:
    lines: list[str] = []
    with instance_of(environment.data.dagster_home) as instance:
        outcome = build_pending(
            environment.definitions, instance, environment.data, report=lines.append
        )
    assert outcome.runs == []
    assert any("nothing is pending" in line for line in lines)
