"""Pole voltage and power per minute against loops over every reading."""

from .conftest import Built, assert_same_rows


def test_minutes_equal_brute_force(built: Built) -> None:
    actual = {
        (r["pole_id"], r["minute_ts"]): r for r in built.rows("select * from minute_agg_pole")
    }

    assert_same_rows(actual, built.reference.minutes(), {"min_voltage_v", "max_voltage_v"})


def test_the_fleet_shows_full_thin_and_empty_minutes(built: Built) -> None:
    minutes = built.reference.minutes().values()

    assert any(m["coverage"] == 1 for m in minutes)
    assert any(m["coverage"] == 0 and m["power_kw"] is None for m in minutes)
    assert any(m["readings"] and m["measured_meters"] < m["meters_reporting"] for m in minutes)
    assert any(m["measured_meters"] > m["meters_reporting"] for m in minutes)
