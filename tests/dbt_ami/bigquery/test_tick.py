"""What a 5-minute tick reads on BigQuery: of large tables the open day and the named columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ..fleet import Row
from .conftest import MODELS_ONLY
from .readings import repeats_over_hours
from .test_googlesql import failures
from .tick_bytes import ROWS_PER_DAY, Scan, per_day_of_lake, report, scan_of, strange, width
from .warehouses import ROOT, dbt_arguments, load_step, plain, run_plan

pytestmark = pytest.mark.timeout(900)

OPEN_DAY = datetime(2026, 3, 2, tzinfo=UTC)
NOON = OPEN_DAY + timedelta(hours=12)
# What the job that runs every 5 minutes makes (ami_dagster/jobs.py).
SAGS = ("--select", "+voltage_events", "+superseded_events", "+pole_events", "+feeder_events")
# Demand response has its own grain and says in its own page what it reads.
WITHOUT_DR = (
    *("--exclude", "models/intermediate/demand_response", "models/marts/demand_response"),
    "dr_window_performance+",
    *MODELS_ONLY,
)


@dataclass(frozen=True)
class Builds:
    """What a tick reads, and what a build of all models then reads."""

    tick: list[Scan]
    whole: list[Scan]


@pytest.fixture(scope="module")
def builds(
    sources: dict[str, list[Row]],
    googlesql: Path,
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Builds:
    """What is read when the newest readings of the open day have come since the last build.

    No seq repeats over hours here: a day in which one does is read again by each build.
    """
    folder = tmp_path_factory.mktemp("tick")
    stored = [row for row in sources["raw_meter_readings"] if not repeats_over_hours(row)]
    newest = max(row["event_ts"] for row in stored)
    before = [row for row in stored if row["event_ts"] < newest - timedelta(minutes=5)]
    build = {"dbt": dbt_arguments(project, folder, "googlesql", "build", *WITHOUT_DR)}
    tick = {"dbt": dbt_arguments(project, folder, "googlesql", "build", *SAGS, *MODELS_ONLY)}
    watch, watched = {"watch": plain(NOON)}, {"watched": True}
    steps: list[dict[str, Any]] = [load_step("meters", sources["meters"])]
    steps += [load_step("raw_meter_readings", before), build]
    steps += [load_step("raw_meter_readings", stored), watch, tick, watched, watch, build, watched]
    *_, first, _, _, second, by_tick, _, third, by_build = run_plan(googlesql, folder, steps)
    for ran in (first, second, third):
        assert ran["success"], failures(ran)
    return Builds([scan_of(read) for read in by_tick], [scan_of(read) for read in by_build])


@pytest.mark.slow
def test_a_build_reads_the_open_day_of_large_tables(builds: Builds) -> None:
    read = {scan.table for scan in builds.whole}
    assert {"raw_meter_readings", "stg_readings", "int_meter_minutes"} <= read
    assert strange(builds.whole, plain(OPEN_DAY), plain(OPEN_DAY - timedelta(days=1))) == []
    assert strange(builds.tick, plain(OPEN_DAY), plain(OPEN_DAY - timedelta(days=1))) == []


@pytest.mark.slow
def test_the_page_names_what_a_tick_reads_and_its_bytes(builds: Builds) -> None:
    made = report(builds.tick, builds.whole)

    assert made in (ROOT / "docs" / "dbt.md").read_text(), f"docs/dbt.md should say:\n{made}"


def read_of(table: str, days: list[int], **columns: str) -> dict[str, Any]:
    """A read as the judge notes it."""
    return {
        "target": "m__dbt_tmp12",
        "table": table,
        "columns": columns,
        "changes": False,
        "days": days,
        "is_partitioned": True,
    }


def test_a_row_weighs_what_bigquery_counts() -> None:
    scan = scan_of(read_of("stg_readings", [0], meter_id="STRING", seq="INT64", late="BOOL"))

    assert (scan.model, scan.row_bytes) == ("m", 16 + 8 + 1)
    assert scan.day_bytes == 25 * 86_400_000
    assert width("quality_flags", "ARRAY<STRING>") == 0


def test_another_day_of_a_large_table_is_strange() -> None:
    fine = [read_of("stg_readings", [2]), read_of("int_meter_minutes", [1, 2])]
    fine += [{**read_of("stg_readings", [1, 2]), "target": "int_low_probed__dbt_tmp3"}]
    small = [read_of("int_meter_hours", [0, 1, 2])]
    wrong = [read_of("stg_readings", [1, 2]), read_of("int_meter_minutes", [0, 1])]
    unlimited = [{**read_of("int_meter_5min", []), "is_partitioned": False}]

    assert strange(map(scan_of, fine + small), 2, 1) == []
    assert strange(map(scan_of, wrong + unlimited), 2, 1) == [
        "m reads all days of int_meter_5min",
        "m reads int_meter_minutes in {0}",
        "m reads stg_readings in {1}",
    ]


def test_smaller_tables_count_whole_and_once_per_statement() -> None:
    reads = [read_of("int_meter_hours", [0], received="INT64")] * 2
    reads += [read_of("dim_meter", [], meter_id="STRING")]

    assert per_day_of_lake(map(scan_of, reads)) == {
        "int_meter_hours": 8 * ROWS_PER_DAY["int_meter_hours"]
    }
