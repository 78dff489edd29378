"""The accuracy of the baselines on a real house, against the table in docs/demand-response.md."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from ami_contract.lake import DataDir

from .conftest import ROOT, run_dbt
from .dr_world import DR_MODELS, write_world
from .reference_dr import SLOT, MeterSlot, World

HOUSE = ROOT / "tests" / "data" / "household_power_5min_q.csv.gz"
START = datetime(2008, 2, 1, tzinfo=UTC)
"""The logger's clock did not shift: taken for UTC, its local days are whole."""

EASTER_MONDAY = date(2008, 3, 24)


def documented() -> dict[str, tuple[float, ...]]:
    """Per method: RRMSE, bias, and the same unadjusted, in % as the page has them."""
    page = (ROOT / "docs" / "demand-response.md").read_text("utf-8").splitlines()
    table: dict[str, tuple[float, ...]] = {}
    for line in page[page.index("| method | RRMSE | bias | unadjusted RRMSE | bias |") + 2 :]:
        if not line.startswith("|"):
            break
        name, *figures = (cell.strip() for cell in line.strip("|").split("|"))
        table[name.strip("`")] = tuple(
            float(figure.removesuffix(" %").replace("−", "-")) for figure in figures
        )
    return table


@pytest.mark.slow
def test_the_documented_accuracy_on_a_real_house(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with gzip.open(HOUSE, "rt", encoding="ascii") as file:
        slots = {
            START + number * SLOT: MeterSlot(float(row["mean_kw"]) / 12, 300.0, 300.0)
            for number, row in enumerate(csv.DictReader(file))
        }
    meters = {("house", "house"): slots}
    write_world(data, World({"house": "UTC"}, meters, {}, {EASTER_MONDAY}, []))
    done = run_dbt(data, "run", "--select", *DR_MODELS, "--exclude", "dr_5min_baseline")
    assert done.returncode == 0, done.stdout
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        rows = con.execute(
            """
            select method,
                max(case when is_own_adjustment then 100 * rrmse end),
                max(case when is_own_adjustment then 100 * bias end),
                max(case when adjustment = 'none' then 100 * rrmse end),
                max(case when adjustment = 'none' then 100 * bias end),
                min(placebo_days), min(placebo_hours), min(mean_actual_kw), max(gate), min(gate)
            from dr_baseline_accuracy group by method
            """
        ).fetchall()

    assert {row[0]: tuple(round(figure, 1) for figure in row[1:5]) for row in rows} == documented()
    for row in rows:
        assert row[5:] == (42, 168, pytest.approx(1.12, abs=0.005), "fail", "fail")
