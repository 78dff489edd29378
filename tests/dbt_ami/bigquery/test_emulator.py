"""The real dbt-bigquery against a BigQuery server on this machine: requests, jobs, DDL and seeds.

The server computes with DuckDB and gets some functions wrong, so its rows are not compared; models
that need local time and unit tests are left out, and contracts too, because it knows no CREATE
TABLE AS with a column list. What a statement means is judged by `test_googlesql.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery

from beam_jobs.bigquery_tables import readings_table

from ..fleet import Row
from .conftest import WITH_VARS
from .emulator import emulator_client, load_table, running_emulator
from .environments import environment
from .warehouses import ROOT, dbt_arguments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# It takes the zone in DATETIME(timestamp, zone) for a time of day.
NEED_LOCAL_TIME = ("int_local_slots+", "int_dr_event_poles+", "voltage_quality_daily+")
ARGUMENTS = ("--exclude", *NEED_LOCAL_TIME, "--exclude-resource-type", "unit_test", *WITH_VARS)

METERS_SCHEMA = ROOT / "ami_contract" / "generated" / "meters.bigquery.json"


def json_values(row: Row) -> dict[str, Any]:
    """A row as Google's client sends it."""
    return {
        name: cell.isoformat() if isinstance(cell, date) else cell for name, cell in row.items()
    }


def leave_out_contracts(project: Path) -> None:
    """Rewrite the models' yml so that no contract is enforced."""
    for described in (project / "models").rglob("*.yml"):
        text = described.read_text()
        described.write_text(
            text.replace("contract: {enforced: true}", "contract: {enforced: false}")
        )


def test_dbt_build_succeeds_through_the_real_adapter(
    sources: dict[str, list[Row]], project: Path, tmp_path: Path
) -> None:
    without_contracts = tmp_path / "dbt_ami"
    shutil.copytree(project, without_contracts)
    leave_out_contracts(without_contracts)
    fields = json.loads(METERS_SCHEMA.read_text())
    tables = {
        "raw_meter_readings": readings_table("ami-judge:ami.raw_meter_readings"),
        "meters": bigquery.Table(
            "ami-judge.ami.meters", [bigquery.SchemaField.from_api_repr(field) for field in fields]
        ),
    }
    with running_emulator(environment("emulator"), tmp_path) as port:
        client = emulator_client(port)
        for name, table in tables.items():
            load_table(client, table, [json_values(row) for row in sources[name]])

        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("dbt")),
                *dbt_arguments(
                    without_contracts, tmp_path / "target", "emulator", "build", *ARGUMENTS
                ),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "AMI_EMULATOR_PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 0, done.stdout
        ((events,),) = client.query("select count(*) from ami.voltage_events").result()
        assert events > 0
