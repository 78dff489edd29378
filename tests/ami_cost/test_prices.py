"""Unit prices: what a quantity costs, and what a table must hold."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ami_contract.errors import SettingsError
from ami_cost.prices import PRICES, Price, load_prices

PRICE = Price(
    usd=2.5, unit="GiB", source="https://x", checked=date(2026, 9, 1), evidence="page", free=10
)


def test_free_units_cost_nothing_and_the_rest_its_price() -> None:
    assert PRICE.cost_usd(4) == 0
    assert PRICE.cost_usd(10) == 0
    assert PRICE.cost_usd(12) == 5.0


def test_free_units_come_each_month_and_whole_for_a_part_of_one() -> None:
    assert PRICE.cost_usd(22, months=2) == 5.0
    assert PRICE.cost_usd(12, months=0.1) == 5.0


def test_every_price_names_a_page_of_google_and_a_day() -> None:
    for name, price in load_prices().items():
        assert price.source.startswith("https://cloud.google.com/"), name
        assert date(2026, 1, 1) <= price.checked, name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("disk_balanced:", "disk_bronze:"), "disk_bronze"),
        (("usd: 40.0", "usd: -1"), ">= 0.0"),
        (("usd: 40.0", "euro: 40.0"), "euro"),
    ],
)
def test_a_table_that_says_something_else_is_refused(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES.read_text(encoding="utf-8").replace(*change), encoding="utf-8")

    with pytest.raises(SettingsError, match=said):
        load_prices(file)


def test_a_table_without_a_price_is_refused(tmp_path: Path) -> None:
    text = PRICES.read_text(encoding="utf-8")
    file = tmp_path / "prices.yaml"
    file.write_text(text[: text.index("disk_balanced:")], encoding="utf-8")

    with pytest.raises(SettingsError, match=r"lacks the price of disk_balanced"):
        load_prices(file)
