"""Exports, reports and replays as people launch them."""

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
from ami_dagster.defs.lake.replay import ReplayRange
from ami_dagster.defs.serving.on_demand import ExportConfig, export_day
from ami_dagster.defs.serving.quality_report import quality_report
from ami_dagster.local_run import instance_of

DAY = "2026-03-01"


@pytest.fixture
def instance(environment: Built) -> Iterator[dg.DagsterInstance]:
    with instance_of(environment.data.dagster_home) as instance:
        yield instance


def run(
    built: Built, instance: dg.DagsterInstance, job: str, **options: Any
) -> dg.ExecuteInProcessResult:
    return built.definitions.resolve_job_def(job).execute_in_process(
        instance=instance, raise_on_error=False, **options
    )


def export_config(**config: object) -> dict[str, object]:
    return {"ops": {"exports": {"config": config}}}


def test_a_day_of_readings_is_exported_by_pole_and_again_in_place(
    built: Built, instance: dg.DagsterInstance
) -> None:
    for _ in range(2):
        assert run(built, instance, "export_day", partition_key=DAY).success
    [path] = (built.data.exports / "readings" / DAY).rglob("*.parquet")
    assert "p1" in str(path)
    assert duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchall() == [
        (2400,)
    ]
    # Nothing but the day's folder: no leftovers of the run that was replaced.
    assert [each.name for each in (built.data.exports / "readings").iterdir()] == [DAY]


def test_an_export_that_a_killed_run_had_moved_aside_comes_back(
    built: Built, tmp_path: Path
) -> None:
    start = datetime.fromisoformat(f"{DAY}T00:00:00+00:00")
    target = tmp_path / DAY
    export_day(built.data, ExportConfig(), start, target)
    target.rename(tmp_path / f".replaced-{DAY}")
    with pytest.raises(SettingsError):
        export_day(built.data, ExportConfig(pole_ids=["nowhere"]), start, target)
    assert list(tmp_path.iterdir()) == [target]


def test_a_mart_is_exported_as_one_csv(built: Built, instance: dg.DagsterInstance) -> None:
    config = export_config(table="voltage_events", form="csv", one_file_per_pole=False)
    assert run(built, instance, "export_day", partition_key=DAY, run_config=config).success
    lines = (built.data.exports / "voltage_events" / f"{DAY}.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].split(",")[1] == '"m1"'


def test_an_export_of_what_is_not_there_says_what_there_is(
    built: Built, instance: dg.DagsterInstance
) -> None:
    config = export_config(table="sags")
    result = run(built, instance, "export_day", partition_key=DAY, run_config=config)
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert "there is no table 'sags'; there are" in str(failed.step_failure_data.error)


def test_wrong_export_options_are_refused_before_the_run(
    built: Built, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="form"):
        built.definitions.resolve_job_def("export_day").execute_in_process(
            instance=instance, partition_key=DAY, run_config=export_config(form="xlsx")
        )


def test_the_report_counts_the_day(built: Built, instance: dg.DagsterInstance) -> None:
    letters = built.data.deadletter / "segments" / f"dt={DAY}" / "hr=14" / "s.jsonl"
    letters.parent.mkdir(parents=True)
    letters.write_text('{"code": "invalid_json"}\n{"code": "invalid_json"}\n{"code": "x"}\n')
    assert run(built, instance, "report_data_quality", partition_key=DAY).success
    text = (built.data.reports / "data-quality" / f"{DAY}.md").read_text()
    letters.unlink()
    # Two meters at 1 Hz: m1 from 14:50 to 15:10 or so; 2 400 readings, each once.
    assert "| received | 2,400 |" in text
    assert "| invalid_json | 2 |\n| x | 1 |" in text


def test_a_day_without_meters_says_so(built: Built) -> None:
    text = quality_report(built.data, datetime(2020, 1, 1, tzinfo=UTC))
    assert "No meter was in service." in text


def test_a_replay_range_is_checked_in_the_launchpad() -> None:
    found = ReplayRange(start="2026-03-01T11:00+01:00", end="2026-03-01T14:00")
    assert (found.start, found.end) == ("2026-03-01T10:00", "2026-03-01T14:00")
    with pytest.raises(ValidationError, match="is not before end"):
        ReplayRange(start="2026-03-01T14:00", end="2026-03-01T14:00")
    with pytest.raises(ValidationError):
        ReplayRange(start="yesterday", end="2026-03-01T14:00")


def test_a_replay_that_fails_fails_its_run_with_the_reason(
    built: Built, instance: dg.DagsterInstance
) -> None:
    # The lake of these tests was filled without an archive.
    config = {"start": "2026-03-01T14:00", "end": "2026-03-01T15:00"}
    result = run(
        built,
        instance,
        "replay_archive",
        run_config={"ops": {"replay_hours": {"config": config}}},
    )
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert "1200 readings stored for 2026-03-01 14:00Z are not in the archive" in str(
        failed.step_failure_data.error
    )
