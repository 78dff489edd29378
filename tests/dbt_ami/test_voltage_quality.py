"""Voltage per local day and ISO week against loops over every reading."""

from datetime import date

import pytest

from .conftest import Built, assert_same_rows
from .fleet import Row
from .reference_quality import ten_minutes_of, voltage_days, voltage_weeks

Days = dict[tuple[str, date], Row]


@pytest.fixture(scope="module")
def days(built: Built) -> Days:
    return voltage_days(built.reference, built.registry)


def test_days_equal_brute_force(built: Built, days: Days) -> None:
    actual = {
        (r["meter_id"], r["local_date"]): r
        for r in built.rows("select * from voltage_quality_daily")
    }

    assert set(next(iter(actual.values()))) == {
        "meter_id",
        "local_date",
        *next(iter(days.values())),
    }
    assert_same_rows(actual, days, set())


def test_weeks_equal_brute_force(built: Built, days: Days) -> None:
    weeks = voltage_weeks(built.reference, days)
    actual = {
        (r["meter_id"], r["week_start_date"]): r
        for r in built.rows("select * from voltage_quality_weekly")
    }

    assert_same_rows(actual, weeks, set())
    assert {monday for _, monday in weeks} == {date(2026, 2, 23), date(2026, 3, 2)}


def test_the_fleet_shows_every_range_and_status(days: Days) -> None:
    rows = days.values()

    assert {r["status"] for r in rows} == {"assessed", "no_valid_interval", "not_assessable"}
    for column in (
        "range_a_intervals",
        "range_b_intervals",
        "out_intervals",
        "en50160_interrupted_intervals",
        "en50160_within_intervals",
    ):
        assert any(r[column] for r in rows), column
    assert any(r["en50160_within_intervals"] < r["en50160_within_wide_intervals"] for r in rows)
    assert {r["time_zone"] for r in rows} == {
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kathmandu",
        "UTC",
    }
    assert {day for meter_id, day in days if meter_id == "m1-plain-1"} == {
        date(2026, 3, 1),
        date(2026, 3, 2),
    }


def test_the_days_of_a_week_with_a_clock_change_add_up() -> None:
    assert ten_minutes_of(date(2026, 3, 23), 7, "Europe/Berlin") == 1002
    assert ten_minutes_of(date(2026, 3, 29), 1, "Europe/Berlin") == 138
    assert ten_minutes_of(date(2026, 10, 19), 7, "Europe/Berlin") == 1014
