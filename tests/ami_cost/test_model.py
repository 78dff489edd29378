"""The bill of small fleets, worked out by hand, and how it answers to more of everything."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami_contract.errors import SettingsError
from ami_contract.reading import ROW_FIELDS
from ami_contract.render import bigquery_schema
from ami_cost import model
from ami_cost.measured import (
    Encoding,
    Measured,
    Sizes,
    WriteMethod,
    load_measured,
    message_bytes,
    row_bytes,
)
from ami_cost.model import Estimate, Scenario, estimate
from ami_cost.prices import Name, Price, load_prices

ROOT = Path(__file__).resolve().parents[2]
ONE_USD = {
    name: Price(usd=1, unit="unit", source="", checked=date(2026, 1, 1), evidence="none")
    for name in get_args(Name)
}
# A core ingests one reading a second: half a second for the ingest, half for the row.
TOY = Measured(
    sizes={
        Encoding.SINGLE: Sizes({1: 500.0}, {1: 600.0}),
        Encoding.BATCH: Sizes({10: 2000.0, 100: 20_000.0}, {10: 2500.0, 100: 25_000.0}),
        Encoding.ARROW: Sizes({10: 1000.0, 100: 3000.0}, {10: 1100.0, 100: 3300.0}),
    },
    ingest_per_core=dict.fromkeys(Encoding, 2.0),
    rows_per_core=dict.fromkeys(WriteMethod, 2.0),
)
# 864 000 readings a day in 8 640 messages of 100.
TEN = Scenario(
    meters=10,
    batch_s=10,
    keep_days=100,
    archive_days=10,
    api_requests_per_day=1000,
    dashboard_hours_per_day=1,
)
REAL_PRICES, REAL = load_prices(), load_measured()


def quantities(scenario: Scenario) -> dict[str, float]:
    """What is billed by item, at 1 USD a unit."""
    lines = estimate(scenario, ONE_USD, TOY).lines
    for line in lines:
        assert line.usd == pytest.approx(line.quantity)
    return {line.item: line.quantity for line in lines}


def test_pubsub_bills_each_message_when_published_and_when_delivered() -> None:
    assert quantities(TEN)["publish and deliver"] == pytest.approx(2 * 8640 * 30 * 20_000 / 2**40)


def test_a_small_message_counts_a_thousand_bytes_unless_several_share_a_request() -> None:
    single = replace(TEN, encoding=Encoding.SINGLE)

    for messages, size in ((1, 1000), (2, 500), (200, 500)):
        found = quantities(replace(single, messages_per_request=messages))
        assert found["publish and deliver"] == pytest.approx(2 * 864_000 * 30 * size / 2**40)


def test_dataflow_runs_whole_workers_at_seventy_percent_load() -> None:
    # 10 readings/s ÷ (2 cores × 1 reading/s × 0.7) = 7.1 workers; 720 hours.
    found = estimate(TEN, ONE_USD, TOY)
    by_item = quantities(TEN)

    assert found.workers == 8
    assert by_item["vCPU"] == 8 * 2 * 720
    assert by_item["memory"] == 8 * 8 * 720
    assert by_item["disks"] == 40.0  # the last line of that name: the Dagster host's
    assert found.lines[3].quantity == 8 * 30 * 720
    assert by_item["Streaming Engine"] == pytest.approx(2 * 8640 * 30 * 20_000 / 2**30)
    assert estimate(replace(TEN, hz=0.01), ONE_USD, TOY).workers == 1


def test_archive_is_billed_by_what_it_holds_and_by_files() -> None:
    found = quantities(TEN)

    assert found["archive, standard"] == pytest.approx(8640 * 25_000 * 10 / 2**30)
    assert found["archive, files"] == pytest.approx(1440 * 30 / 1000)
    assert quantities(replace(TEN, archive_minutes=5))["archive, files"] == pytest.approx(8.64)
    # 11 meters hang on two poles.
    assert quantities(replace(TEN, meters=11))["archive, files"] == pytest.approx(86.4)


def test_old_archive_lies_in_nearline_and_each_file_pays_its_move() -> None:
    found = quantities(replace(TEN, nearline_days=4))

    assert found["archive, standard"] == pytest.approx(8640 * 25_000 * 4 / 2**30)
    assert found["archive, Nearline"] == pytest.approx(8640 * 25_000 * 6 / 2**30)
    assert found["archive, moves"] == pytest.approx(43.2)
    assert "archive, moves" not in quantities(replace(TEN, nearline_days=10))


def test_rows_are_billed_by_how_they_are_written() -> None:
    written = 864_000 * 160 * 30 / 2**30

    assert quantities(TEN)["Storage Write API"] == pytest.approx(written)
    # A row of 160 bytes counts as 1 000.
    inserts = quantities(replace(TEN, write_method=WriteMethod.STREAMING_INSERTS))
    assert inserts["streaming inserts"] == pytest.approx(6.25 * written)
    loads = quantities(replace(TEN, write_method=WriteMethod.FILE_LOADS))
    assert not {"streaming inserts", "Storage Write API"} & set(loads)


def test_bigquery_storage_halves_its_price_after_ninety_days() -> None:
    # Raw 160 and staged 16.76e9 / 86.4e6 bytes a reading; 435 kB of smaller tables a meter.
    per_day = 864_000 * 160 + 167_600_000 + 10 * 435_000
    found = quantities(TEN)

    assert found["storage, active"] == pytest.approx(per_day * 90 / 2**30)
    assert found["storage, long-term"] == pytest.approx(per_day * 10 / 2**30)


def test_queries_are_billed_by_what_ticks_and_builds_read() -> None:
    # A hundredth of 1 000 meters: half of 842.2 MB and 550 kB for each of 100 days, 8 640 times.
    found = quantities(TEN)

    assert found["queries, ticks"] == pytest.approx(8640 * (421.1e6 + 55e6) / 2**40)
    assert found["queries, hourly builds"] == pytest.approx(720 * (570e6 + 135e6) / 2**40)
    assert found["queries, daily builds"] == pytest.approx(30 * (1140e6 + 135e6) / 2**40)
    assert found["queries, API"] == pytest.approx(30 * 1000 * 10 / 2**20)
    assert "queries, ticks" not in quantities(replace(TEN, tick_minutes=0))


def test_free_bytes_are_taken_off_the_queries_once() -> None:
    prices = ONE_USD | {
        "bigquery_on_demand": Price(
            usd=2, unit="TiB", source="", checked=date(2026, 1, 1), evidence="none", free=4
        )
    }
    lines = [line for line in estimate(TEN, prices, TOY).lines if line.item.startswith("queries")]

    scanned = sum(line.quantity for line in lines)
    assert sum(line.usd for line in lines) == pytest.approx(2 * (scanned - 4))
    assert lines[0].usd == 0  # 3.7 TiB
    assert lines[1].usd == pytest.approx(2 * (lines[1].quantity - (4 - lines[0].quantity)))


def test_reserved_slots_replace_scanned_bytes() -> None:
    found = quantities(replace(TEN, slots=100))

    assert found["queries, reserved slots"] == 100 * 720
    assert "queries, ticks" not in found


def test_slots_at_par_cost_what_the_bytes_cost() -> None:
    bill = estimate(Scenario(), REAL_PRICES, REAL)
    by_bytes = sum(line.usd for line in bill.lines if line.item.startswith("queries"))

    assert bill.slots_at_par * 720 * 0.04 == pytest.approx(by_bytes)


def test_cloud_run_bills_seconds_of_answers_open_dashboards_and_jobs() -> None:
    # 30 000 answers of 0.1 s; 30 hours of two containers; 288 jobs a day of a minute each.
    found = quantities(TEN)

    assert found["API, dashboard vCPU"] == pytest.approx(3000 + 2 * 30 * 3600)
    assert found["API, dashboard memory"] == found["API, dashboard vCPU"]
    assert found["requests"] == pytest.approx(0.03)
    assert found["figures job vCPU"] == found["figures job memory"] == 30 * 288 * 60


def test_dagster_runs_on_one_machine_with_two_disks() -> None:
    found = quantities(TEN)

    assert (found["machine"], found["disks"]) == (720, 40)


def test_a_bill_of_two_days_is_a_fifteenth_and_the_same_per_meter_and_month() -> None:
    month, days = (estimate(replace(TEN, days=d), ONE_USD, TOY) for d in (30, 2))

    assert days.usd == pytest.approx(month.usd / 15)
    assert days.per_meter_month(days.usd) == pytest.approx(month.usd / 10)


def test_the_dearest_line_and_services_are_told() -> None:
    bill = estimate(Scenario(meters=10_000, encoding=Encoding.ARROW), REAL_PRICES, REAL)

    assert (bill.dominating.service, bill.dominating.item) == ("BigQuery", "queries, ticks")
    assert sum(bill.by_service().values()) == pytest.approx(bill.usd)


@pytest.mark.parametrize(
    "wrong",
    [{"meters": 0}, {"hz": float("nan")}, {"days": -1}, {"archive_minutes": 2}, {"slots": -1}],
)
def test_what_no_fleet_can_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Scenario(**wrong)  # type: ignore[arg-type]


def test_message_sizes_are_linear_between_and_beyond_what_was_measured() -> None:
    sizes = {10: 1000.0, 100: 1900.0, 200: 2400.0}

    assert [message_bytes(sizes, n) for n in (10, 55, 100, 150, 300)] == [
        1000, 1450, 1900, 2150, 2900,
    ]  # fmt: skip
    assert message_bytes({1: 430.0}, 1) == 430


SCENARIOS = st.builds(
    Scenario,
    meters=st.integers(1, 10**7),
    hz=st.sampled_from([1 / 900, 1 / 60, 0.5, 1.0, 2.0]),
    days=st.sampled_from([1.0, 30.0, 90.0]),
    encoding=st.sampled_from(Encoding),
    meters_per_pole=st.integers(1, 50),
    write_method=st.sampled_from(WriteMethod),
    keep_days=st.floats(0, 1000),
    archive_days=st.floats(0, 1000),
    nearline_days=st.sampled_from([0.0, 30.0]),
    tick_minutes=st.sampled_from([0.0, 5.0, 15.0]),
    slots=st.sampled_from([0, 100]),
)


def bill_of(scenario: Scenario) -> Estimate:
    return estimate(scenario, REAL_PRICES, REAL)


@settings(max_examples=60)
@given(SCENARIOS, st.integers(1, 10**6), st.floats(0, 400))
def test_more_of_anything_never_costs_less(scenario: Scenario, more: int, days: float) -> None:
    usd = bill_of(scenario).usd * (1 - 1e-9)

    assert usd >= 0
    assert bill_of(replace(scenario, meters=scenario.meters + more)).usd >= usd
    assert bill_of(replace(scenario, keep_days=scenario.keep_days + days)).usd >= usd
    assert bill_of(replace(scenario, archive_days=scenario.archive_days + days)).usd >= usd
    assert bill_of(replace(scenario, api_requests_per_day=10_000 + more)).usd >= usd


@settings(max_examples=40)
@given(st.integers(1, 10**7), st.sampled_from(WriteMethod))
def test_arrow_never_costs_more_than_batches_nor_batches_than_single_readings(
    meters: int, method: WriteMethod
) -> None:
    single, batch, arrow = (
        bill_of(Scenario(meters=meters, encoding=encoding, write_method=method)).usd
        for encoding in Encoding
    )

    assert arrow <= batch <= single


def test_scanned_bytes_are_those_of_the_page_on_the_models() -> None:
    page = (ROOT / "docs" / "dbt.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)`[^|]*\| ([^|]*) \| ([\d.]+) \|$", page, re.MULTILINE)
    minutes = sum(float(gb) for _, table, _, gb in rows if table == "int_meter_minutes")
    readings = sum(float(gb) for _, table, _, gb in rows if table != "int_meter_minutes")
    staged = [float(gb) for name, _, how, gb in rows if name == "stg_readings" and how[0] == "o"]
    tick_lake, build, build_lake = re.findall(
        r"Beside it (\d+) MB .* reads (\d+) GB and (\d+) MB", page
    )[0]

    assert pytest.approx(readings * 1e9) == model.TICK_READING_BYTES
    assert pytest.approx(minutes * 1e9) == model.TICK_MINUTE_BYTES
    assert [pytest.approx(gb * 1e9) for gb in staged] == [model.STAGED_BYTES]
    assert (float(tick_lake) * 1e6, float(build) * 1e9, float(build_lake) * 1e6) == (
        model.TICK_BYTES_PER_LAKE_DAY, model.BUILD_BYTES, model.BUILD_BYTES_PER_LAKE_DAY,
    )  # fmt: skip


def test_a_row_weighs_what_the_count_of_scanned_bytes_says() -> None:
    path = ROOT / "tests" / "dbt_ami" / "bigquery" / "tick_bytes.py"
    spec = importlib.util.spec_from_file_location("tick_bytes_of_cost", path)
    assert spec is not None
    assert spec.loader is not None
    tick_bytes = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules[spec.name] = tick_bytes
    spec.loader.exec_module(tick_bytes)
    columns = json.loads(bigquery_schema(ROW_FIELDS))

    assert row_bytes() == 160
    assert row_bytes() == sum(
        tick_bytes.width(c["name"], "ARRAY" if c["mode"] == "REPEATED" else c["type"])
        for c in columns
    )
