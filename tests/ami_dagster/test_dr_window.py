"""A demand-response window on demand: its config, its files, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from built_platform import Built
from pydantic import ValidationError

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from ami_dagster.defs.serving.dr_window import DrWindowConfig, evaluate, totals_table, write_files
from ami_dagster.local_run import instance_of

NOW = datetime(2026, 9, 1, tzinfo=UTC)
WINDOW = {"window_start": "2026-08-20T16:00-05:00", "window_end": "2026-08-20T16:10-05:00"}
PERFORMANCE = """
    create macro dr_window_performance(window_start, window_end, pole_ids) as table (
        select pole_id, method, 'additive' as adjustment, slot_ts, 'event' as phase,
            baseline_kw, actual_kw, baseline_kw - actual_kw as shed_kw, true as is_own_adjustment
        from (values ('p1', 'mean', 3e0, 2e0), ('p2', 'mean', 4e0, 2.5e0),
            ('p1', 'median', 2.5e0, 2e0), ('p2', 'median', null, 2.5e0))
            as known(pole_id, method, baseline_kw, actual_kw)
        cross join (select unnest(generate_series(window_start::timestamptz,
            window_end::timestamptz - interval 5 minute, interval 5 minute)) as slot_ts)
        where len(pole_ids) = 0 or list_contains(pole_ids, pole_id)
    )
"""
SUMMARY = """
    create macro dr_window_summary(window_start, window_end, pole_ids) as table (
        select pole_id, method, sum(shed_kw) / 12 as shed_kwh
        from dr_window_performance(window_start, window_end, pole_ids) group by all
    )
"""
TOTALS = """
    create macro dr_window_totals(window_start, window_end, pole_ids) as table (
        select method, adjustment, is_own_adjustment, count(distinct pole_id) as poles,
            string_agg(distinct case when shed_kw is null then pole_id end) as unknown_poles,
            case when count(*) = count(shed_kw) then sum(baseline_kw) / 12 end as baseline_kwh,
            case when count(*) = count(shed_kw) then sum(actual_kw) / 12 end as actual_kwh,
            case when count(*) = count(shed_kw) then sum(shed_kw) / 12 end as shed_kwh,
            case when count(*) = count(shed_kw)
                then 100 * sum(shed_kw) / sum(baseline_kw) end as shed_pct,
            null::double as rebound_kwh
        from dr_window_performance(window_start, window_end, pole_ids) group by all
    )
"""


@pytest.fixture
def known(tmp_path: Path) -> DataDir:
    """A published warehouse in which two poles shed what is written above."""
    data = DataDir(tmp_path)
    data.published_warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(data.published_warehouse)) as con:
        con.execute("create schema lake")
        con.execute("create table dim_pole as select unnest(['p1', 'p2']) as pole_id")
        con.execute(
            "create table dr_baseline_accuracy as select * from (values"
            " ('default_window', 'p1', 'mean', 'fail', true),"
            " ('default_window', 'p2', 'mean', 'pass', true),"
            " ('default_window', 'p1', 'median', 'fail', true),"
            " ('other', 'p1', 'median', 'pass', true))"
            " as t(reference_id, pole_id, method, gate, is_own_adjustment)"
        )
        for macro in (PERFORMANCE, SUMMARY, TOTALS):
            con.execute(macro)
    return data


def test_a_window_is_checked_in_the_launchpad() -> None:
    config = DrWindowConfig(**WINDOW)
    assert (config.start, config.end) == (
        datetime(2026, 8, 20, 21, tzinfo=UTC),
        datetime(2026, 8, 20, 21, 10, tzinfo=UTC),
    )
    for start, end, reason in (
        ("2026-08-20T16:00", "2026-08-20T17:00Z", "has no offset from UTC"),
        ("2026-08-20T16:02Z", "2026-08-20T17:00Z", "not at whole 5 minutes"),
        ("2026-08-20T17:00Z", "2026-08-20T17:00Z", "by a day at most"),
        ("2026-08-20T17:00Z", "2026-08-21T17:05Z", "by a day at most"),
        ("noon", "2026-08-21T17:05Z", "Invalid isoformat"),
    ):
        with pytest.raises(ValidationError, match=reason):
            DrWindowConfig(window_start=start, window_end=end)


def test_totals_picture_and_files_are_those_of_the_window(known: DataDir) -> None:
    config = DrWindowConfig(**WINDOW)
    found = evaluate(known, config, now=NOW)
    # Two slots of 5 minutes: (1.0 + 1.5) kW · 10 min.
    assert totals_table(found["totals"]).splitlines()[2:] == [
        "| mean | 1.167 | 0.750 | 0.417 | 35.714 | – | 1 of 2 |  |",
        "| median | – | – | – | – | – | 0 of 1 | p2 |",
    ]
    assert found["method"] == "mean"
    assert "data:image/svg+xml" in found["picture"]

    for _ in range(2):
        folder = write_files(known, config)
    assert folder.name == "20260820T2100Z-20260820T2110Z"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    per_pole = duckdb.sql(f"select * from '{folder}/per_pole.csv' where method = 'mean'").fetchall()
    assert sorted(per_pole) == [
        ("p1", "mean", pytest.approx(2 / 12)),
        ("p2", "mean", pytest.approx(3 / 12)),
    ]
    assert len((folder / "per_slot.csv").read_text().splitlines()) == 1 + 8


def test_what_cannot_be_evaluated_is_refused_with_what_there_is(known: DataDir) -> None:
    for changed, now, reason in (
        ({}, datetime(2026, 8, 20, 21, 5, tzinfo=UTC), "still to come"),
        ({"pole_ids": ["p1", "p9"]}, NOW, "there is no pole p9"),
        ({"method": "guess"}, NOW, "there is no method 'guess'; there are mean, median"),
    ):
        config: dict[str, Any] = {**WINDOW, **changed}
        with pytest.raises(SettingsError, match=reason):
            evaluate(known, DrWindowConfig(**config), now=now)


@pytest.fixture
def instance(environment: Built) -> Iterator[dg.DagsterInstance]:
    with instance_of(environment.data.dagster_home) as instance:
        yield instance


def test_the_job_writes_the_window_of_its_config(
    built: Built, instance: dg.DagsterInstance
) -> None:
    window = {"window_start": "2026-03-01T14:00Z", "window_end": "2026-03-01T15:00Z"}
    result = built.definitions.resolve_job_def("evaluate_dr_window").execute_in_process(
        instance=instance, run_config={"ops": {"dr_window_report": {"config": window}}}
    )
    assert result.success
    [made] = result.get_asset_materialization_events()
    metadata = made.materialization.metadata
    assert metadata["totals"].value.count("\n| ") == 6
    # An hour of history is no baseline.
    assert "too few days" in metadata["picture"].value
    lines = (Path(metadata["path"].value) / "per_slot.csv").read_text().splitlines()
    assert lines[0].startswith("pole_id,method,adjustment,slot_ts,phase")
    assert len(lines) > 18 * 12
