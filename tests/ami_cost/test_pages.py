"""Cost and scaling pages say what the model gives, and name settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ami_contract.settings import Settings
from ami_cost import limits
from ami_cost.measured import load_measured
from ami_cost.model import Scenario, estimate
from ami_cost.pages import BLOCKS, DOCS, rendered
from ami_cost.prices import load_prices

VARIABLES = Path(__file__).resolve().parents[2] / "infra" / "variables.tf"
# Names in code that are no variables of Terraform: of schedules, simulations, tables, columns.
OTHER_NAMES = re.compile(
    r"bigquery_(?!location|maximum)\w+|dataflow_(vcpu|memory|disk|streaming_engine)|storage_\w+"
    r"|pubsub_throughput|run_\w+|machine_\w+|disk_balanced|file_loads|streaming_inserts"
    r"|sags_every_5_minutes|hours_hourly|days_daily|publish_mode|batch_interval_s|raw_meter_readings|stg_readings|minute_agg_pole"
    r"|maximum_bytes_billed|job_execution_timeout_seconds|require_partition_filter|dbt_ami|ami_cost"
)


@pytest.mark.parametrize("name", BLOCKS)
def test_committed_page_equals_a_fresh_render(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")

    for block in BLOCKS[name]:
        assert f"<!-- {block} -->\n" in page
        assert f"<!-- end of {block} -->" in page
    assert page == rendered(name, page, load_prices(), load_measured())


def test_a_changed_figure_shows() -> None:
    page = (DOCS / "cost.md").read_text(encoding="utf-8").replace("queries 94%", "queries 1%")

    assert page != rendered("cost.md", page, load_prices(), load_measured())


@pytest.mark.parametrize("name", BLOCKS)
def test_every_setting_that_a_page_names_exists(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    settings = {f"AMI_{field.upper()}" for field in Settings.model_fields}

    assert set(re.findall(r"AMI_[A-Z_]+[A-Z]", page)) <= settings


@pytest.mark.skipif(not VARIABLES.exists(), reason="infra/ has no Terraform here")
def test_every_variable_that_pages_and_bills_name_is_one_of_terraform() -> None:
    known = set(re.findall(r'^variable "(\w+)"', VARIABLES.read_text(encoding="utf-8"), re.M))
    named = {
        word
        for name in BLOCKS
        for code in re.findall(r"`([^`]+)`", (DOCS / name).read_text(encoding="utf-8"))
        for word in re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", code)
        if "/" not in code and "." not in code and not OTHER_NAMES.fullmatch(word)
    }

    bill = estimate(Scenario(nearline_days=30), load_prices(), load_measured())
    named |= {
        word
        for line in bill.lines
        for word in re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", line.setting)
        if not OTHER_NAMES.fullmatch(word)
    }

    assert "dataflow_max_workers" in named
    assert named <= known


@pytest.mark.skipif(not VARIABLES.exists(), reason="infra/ has no Terraform here")
def test_limits_of_workers_are_those_of_terraform() -> None:
    text = VARIABLES.read_text(encoding="utf-8")
    block = text[text.index('variable "dataflow_max_workers"') :].partition("\n}\n")[0]

    assert f"default     = {limits.MAX_WORKERS}\n" in block
    assert f"<= {limits.MAX_WORKERS_TAKEN}" in block


def test_limits_come_narrowest_first_and_the_first_is_the_cap_on_bytes() -> None:
    found = limits.limits(load_measured())
    meters = [limit.meters for limit in found]

    assert meters == sorted(meters)
    # A MERGE of 33.52 MB a meter against 100 GiB.
    assert found[0].meters == pytest.approx(107_374_182_400 / 33.52e6)
    assert found[0].name == "bytes that a query may bill"


def test_the_largest_statement_meets_the_cap_at_the_meters_that_the_page_names() -> None:
    cap = Settings.model_fields["bigquery_maximum_bytes_billed"].default
    below, above = (
        estimate(Scenario(meters=meters), load_prices(), load_measured()).largest_statement_bytes
        for meters in (3203, 3204)
    )

    assert below < cap < above
