"""`ami cost`: reads a fleet's options, prices and measured sizes, gives Google Cloud's bill."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from ami_cli.query import check_format, print_rows
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_cost.measured import Encoding, WriteMethod, load_measured
from ami_cost.model import Estimate, Scenario, ScenarioError, estimate
from ami_cost.prices import PRICES, Prices, load_prices

__all__ = ["Encoding", "WriteMethod", "print_cost", "scenario_of"]

_COLUMNS = ("service", "item", "quantity", "unit", "usd", "usd_per_meter_month", "share", "setting")


_OPTIONS: Final = {
    "api_requests_per_day": "--api-requests",
    "dashboard_hours_per_day": "--dashboard-hours",
}
"""Options whose name is not that of their field."""


def scenario_of(**fields: Any) -> Scenario:
    """The scenario of these fields; raises SettingsError that names the option."""
    try:
        return Scenario(**fields)
    except ScenarioError as error:
        raise SettingsError(f"{option_of(error.field)} {error.said}") from error


def option_of(field: str) -> str:
    """Option of `ami cost` that sets a field of `Scenario`."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


def print_cost(settings: Settings, scenario: Scenario, prices: Path | None, output: str) -> None:
    """Print the bill of a scenario; raises SettingsError for another table of prices or format."""
    check_format(output)
    table = load_prices(prices or PRICES)
    bill = estimate(scenario, table, load_measured())
    notes = list(_notes(bill, settings, table))
    if output == "json":
        click.echo(json.dumps(_document(bill, notes), indent=2, ensure_ascii=False))
        return
    print_rows(_COLUMNS, _rows(bill, as_shown=output == "table"), output)
    for note in notes:
        click.echo(note, err=True)


def _rows(bill: Estimate, *, as_shown: bool) -> list[list[object]]:
    rows: list[list[object]] = []
    for line in bill.lines:
        share = line.usd / bill.usd if bill.usd else 0.0
        per_meter = bill.per_meter_month(line.usd)
        if as_shown:
            # A row that costs nothing tells by its quantity that it was counted.
            numbers = [f"{line.quantity:,.2f}", line.unit, f"{line.usd:,.2f}", f"{per_meter:.4f}"]
            rows.append([line.service, line.item, *numbers, f"{share:.1%}", line.setting])
        else:
            exact = [line.quantity, line.unit, line.usd, per_meter, share]
            rows.append([line.service, line.item, *exact, line.setting])
    if as_shown:
        total = ["all", "", "", "", f"{bill.usd:,.2f}", f"{bill.per_meter_month(bill.usd):.4f}"]
        rows.append([*total, "100.0%", ""])
        for column in (2, 4, 5, 6):
            width = max(len(str(row[column])) for row in rows)
            for row in rows:
                row[column] = str(row[column]).rjust(width)
    return rows


def _document(bill: Estimate, notes: list[str]) -> dict[str, object]:
    return {
        "scenario": asdict(bill.scenario),
        "usd": bill.usd,
        "usd_per_month": bill.usd / bill.months,
        "usd_per_meter_month": bill.per_meter_month(bill.usd),
        "usd_by_service": bill.by_service(),
        "dataflow_workers": bill.workers,
        "slots_at_par": bill.slots_at_par if math.isfinite(bill.slots_at_par) else None,
        "largest_statement_bytes": bill.largest_statement_bytes,
        "lines": [asdict(line) for line in bill.lines],
        "notes": notes,
    }


def _notes(bill: Estimate, settings: Settings, prices: Prices) -> Iterator[str]:
    scenario = bill.scenario
    yield (
        f"{scenario.meters:,} meters at {scenario.hz:g} Hz, {scenario.encoding.value}, "
        f"{scenario.days:g} days: {bill.usd / bill.months:,.2f} USD a month of 30 days"
    )
    dearest = bill.dominating
    if bill.usd:
        yield (
            f"dearest: {dearest.service}, {dearest.item} ({dearest.usd / bill.usd:.0%}); "
            f"what changes it: {dearest.setting}"
        )
    if not scenario.slots and math.isfinite(bill.slots_at_par):
        yield (
            f"{bill.slots_at_par:,.0f} reserved slots cost what these queries cost by bytes "
            "(--slots N prices a reservation)"
        )
    yield f"Dataflow needs {bill.workers:,} e2-standard-2 (dataflow_max_workers)"
    cap = settings.bigquery_maximum_bytes_billed
    if bill.largest_statement_bytes > cap:
        yield (
            f"a tick's largest statement bills {bill.largest_statement_bytes / 1e9:,.0f} GB at a "
            f"day's end, AMI_BIGQUERY_MAXIMUM_BYTES_BILLED lets {cap / 1e9:,.0f} GB pass: "
            "it would fail"
        )
    unproved = sorted(name for name, price in prices.items() if price.evidence == "none")
    days = sorted(price.checked for price in prices.values() if price.evidence != "none")
    yield (
        (f"list prices, us-central1, read {days[0]} to {days[-1]}" if days else "prices")
        + (f"; not verified: {', '.join(unproved)}" if unproved else "")
    )
