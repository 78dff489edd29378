"""`ami cost` as people and programs meet it, and the sizes it counts with as messages have them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from ami_cli.cost_measure import (
    READINGS_PER_MESSAGE,
    archive_bytes,
    ingest_per_core,
    messages,
    pubsub_bytes,
    rows_per_core,
)
from ami_cli.costing import option_of
from ami_cli.main import app
from ami_contract.errors import SettingsError
from ami_cost.measured import Encoding, WriteMethod, load_measured
from ami_cost.model import Scenario
from ami_cost.prices import PRICES


def ami_cost(*options: str) -> Result:
    return CliRunner().invoke(app, ["cost", *options])


def test_the_table_has_every_service_the_sum_and_what_changes_it() -> None:
    result = ami_cost("--meters", "10000", "--encoding", "arrow")

    for service in ("Pub/Sub", "Dataflow", "Storage", "BigQuery", "Cloud Run", "Dagster host"):
        assert f"\n{service}" in result.stdout
    assert "schedule sags_every_5_minutes" in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].startswith("all ")
    assert "dearest: BigQuery, queries, ticks" in result.stderr
    assert "335 GB" in result.stderr
    assert "it would fail" in result.stderr
    assert "not verified: disk_balanced" in result.stderr
    assert result.exit_code == 0


def test_csv_and_json_carry_the_same_exact_figures() -> None:
    rows = list(csv.DictReader(io.StringIO(ami_cost("--format", "csv").stdout)))
    document = json.loads(ami_cost("--format", "json").stdout)

    assert [float(row["usd"]) for row in rows] == [line["usd"] for line in document["lines"]]
    assert sum(float(row["usd"]) for row in rows) == pytest.approx(document["usd"])
    assert document["usd_per_meter_month"] == pytest.approx(document["usd"] / 1000)
    # What the options leave out is what the model takes without them.
    assert document["scenario"] == asdict(Scenario())


def test_options_reach_the_model() -> None:
    two_days = json.loads(
        ami_cost("--days", "2", "--slots", "50", "--keep-days", "2", "--format", "json").stdout
    )

    slots = next(line for line in two_days["lines"] if line["item"] == "queries, reserved slots")
    assert slots["quantity"] == 50 * 48
    assert not any("reserved slots cost" in note for note in two_days["notes"])


def test_another_table_of_prices_is_taken(tmp_path: Path) -> None:
    prices = tmp_path / "contract.yaml"
    text = PRICES.read_text(encoding="utf-8")
    prices.write_text(text.replace("usd: 0.06701142", "usd: 10.0"), encoding="utf-8")
    document = json.loads(ami_cost("--prices", str(prices), "--format", "json").stdout)

    assert document["usd_by_service"]["Dagster host"] == pytest.approx(7204.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--encoding", "xml"], "single, batch, arrow"),
        (["--write-method", "fax"], "file_loads"),
        (["--hz", "0"], "--hz 0.0: a number above 0"),
        (["--archive-minutes", "2"], "--archive-minutes 2: 1 or 5"),
        (["--api-requests", "-1"], "--api-requests -1.0: 0 or more"),
        (["--dashboard-hours", "nan"], "--dashboard-hours nan: 0 or more"),
        (["--format", "yaml"], "table, csv, json"),
        (["--prices", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_options_are_told(options: list[str], said: str) -> None:
    error = ami_cost(*options).exception

    assert isinstance(error, SettingsError)
    assert said in str(error)


def test_every_field_of_a_scenario_has_the_option_that_its_errors_name() -> None:
    options = {
        option for param in get_command(app).commands["cost"].params for option in param.opts
    }
    assert {option_of(field.name) for field in fields(Scenario)} <= options


@pytest.mark.parametrize("encoding", list(Encoding))
def test_stored_sizes_are_those_of_real_messages_and_archive_files(encoding: Encoding) -> None:
    stored = load_measured().sizes[encoding]
    counts = READINGS_PER_MESSAGE[:4:3] if encoding is not Encoding.SINGLE else (10,)

    for count in counts:
        sent = messages(encoding, count)
        per_message = 1 if encoding is Encoding.SINGLE else count
        assert stored.pubsub[per_message] == pytest.approx(pubsub_bytes(sent), rel=0.03)
        assert stored.archive[per_message] == pytest.approx(archive_bytes(sent), rel=0.03)


def test_stored_rates_of_the_ingest_are_near_those_of_the_benchmarks() -> None:
    stored = load_measured().ingest_per_core

    for encoding, rate in ingest_per_core().items():
        assert stored[encoding] == pytest.approx(rate, rel=0.3), (
            "python -m ami_cli.cost_measure measures anew"
        )


def test_rows_for_load_jobs_are_made_many_times_faster_than_for_the_storage_write_api() -> None:
    slow, fast = (
        rows_per_core(method, repeats=1)
        for method in (WriteMethod.STORAGE_WRITE_API, WriteMethod.FILE_LOADS)
    )

    assert fast > 5 * slow


def test_missing_figures_of_the_benchmarks_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"python -m benchmarks --only 'ingest\.\*'"):
        ingest_per_core(tmp_path / "results.json")
