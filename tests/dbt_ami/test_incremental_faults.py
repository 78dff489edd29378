"""Late readings that take events back, runs with other thresholds, runs that are cut short."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from ami_contract.lake import DataDir

from .conftest import ROOT, dbt_arguments, dbt_environment, start_dbt
from .dbt_fork import forked_dbt
from .fleet import Row, build_fleet, registry_rows
from .growing_lake import (
    LEAN,
    RESTATED,
    assert_same_tables,
    build_models,
    land_rows,
    register,
    tables_of,
    whole_build,
)


def _second(at_s: float, voltage_v: float, **other: Any) -> Row:
    event_ts = datetime(2026, 3, 1, 10, 59, tzinfo=UTC) + timedelta(seconds=at_s)
    return {
        "event_ts": event_ts,
        "meter_id": "m1",
        "pole_id": "p1",
        "seq": int(at_s),
        "voltage_v": voltage_v,
        "current_a": 1.0,
        "power_kw": 0.2,
        "quality_flags": [],
        "batch_id": "b",
        "ingest_ts": event_ts + timedelta(seconds=2),
        "event_date": event_ts.date(),
        **other,
    }


def _events(data: DataDir) -> list[tuple[int, int]]:
    """First and last second of every standing event."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        return con.execute(
            "select epoch_us(start_ts)//1000000 - o, epoch_us(end_ts)//1000000 - o"
            " from voltage_events, (select epoch_us(timestamptz '2026-03-01 10:59:00+00')//1000000"
            " as o) order by 1"
        ).fetchall()


@pytest.mark.slow
def test_late_readings_take_events_back_and_what_if_runs_leave_nothing(tmp_path: Path) -> None:
    """A sag from 50 s to 70 s, over the hour at 60 s, of which more becomes known bit by bit."""
    data = DataDir(tmp_path)
    low = {at: _second(at, 200.0) for at in range(50, 71)}
    high = [_second(at, 240.0) for at in (*range(50), *range(71, 120))]
    register(data, [])

    # 50 … 54 and 64 are missing: the gap of 5 s before 55 is none, the sag begins at 55.
    land_rows(data, high + [row for at, row in low.items() if at >= 55 and at != 64], "first", 0)
    build_models(data)
    assert _events(data) == [(55, 70)]

    # The start moves.
    land_rows(data, [row for at, row in low.items() if at < 55], "second", 1)
    build_models(data)
    assert _events(data) == [(50, 70)]
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        assert con.execute(
            "select epoch_us(s.start_ts)//1000000 % 60, s.superseded_by = e.event_id"
            " from superseded_events s, voltage_events e"
        ).fetchall() == [(55, True)]

    # The voltage had recovered at 64 s: one event is two. A run without the events notes nothing.
    land_rows(data, [_second(64, 240.0)], "third", 2)
    build_models(data, without=("voltage_events+", "int_meter_hours+"))
    assert _events(data) == [(50, 70)]
    build_models(data)
    assert _events(data) == [(50, 63), (65, 70)]

    # With 190 V as threshold there is no event, and no history of it; then all is as before.
    before = tables_of(data)
    build_models(data, "--vars", "{sag_threshold_v: 190}")
    assert _events(data) == []
    build_models(data)
    assert_same_tables(tables_of(data), before)
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        # The event from 50 s on keeps its id.
        assert con.execute("select count(*) from superseded_events").fetchone() == (1,)


def test_a_changed_model_macro_or_threshold_changes_the_digest_of_a_build(tmp_path: Path) -> None:
    """Each changed alone in a project with one model, of which a plain dbt tells the digest."""
    data = DataDir(tmp_path / "lake")
    project = tmp_path / "dbt_ami"
    for path in (
        "dbt_project.yml",
        "profiles.yml",
        "macros",
        "models/staging/_lake__sources.yml",
        "models/intermediate/windows/int_landed_windows.sql",
    ):
        copy = shutil.copytree if (ROOT / "dbt_ami" / path).is_dir() else shutil.copy
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / "dbt_ami" / path, project / path)

    def digest(*arguments: str) -> str:
        output = tmp_path / "dbt.txt"
        command = ("--quiet", "compile", *LEAN, "--inline", "{{ 'digest ' ~ build_digest() }}")
        status = forked_dbt(
            dbt_arguments(data, *command, *arguments, project=project),
            dbt_environment(data),
            output,
        )
        assert status == 0, output.read_text()
        return output.read_text().split("digest ")[1].split()[0]

    digests = [digest(), digest("--vars", "{sag_threshold_v: 219}")]
    for path, old, new in (
        ("macros/is_late.sql", ">", ">="),
        ("models/intermediate/windows/int_landed_windows.sql", "where", "where true and"),
        ("dbt_project.yml", "sag_threshold_v: 220 ", "sag_threshold_v: 221 "),
    ):
        text = (project / path).read_text()
        assert old in text
        (project / path).write_text(text.replace(old, new))
        digests.append(digest())
        (project / path).write_text(text)
    assert len(set(digests)) == len(digests)


@pytest.mark.slow
def test_builds_killed_at_random_moments_end_in_what_one_build_gives(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    _, stored = build_fleet([7])
    meters, _ = build_fleet([7])
    register(data, registry_rows(meters))
    rng = np.random.default_rng(7)
    order = rng.permutation(len(stored))
    parts = np.array_split(order, 10)
    for number, part in enumerate(parts):
        land_rows(data, [stored[i] for i in part], f"part{number}", number)
        killed = start_dbt(data, "build", *RESTATED)
        try:
            killed.wait(timeout=float(rng.uniform(2.5, 7)))
        except subprocess.TimeoutExpired:
            killed.kill()
            killed.wait()
    build_models(data)
    assert_same_tables(tables_of(data), whole_build(data))
