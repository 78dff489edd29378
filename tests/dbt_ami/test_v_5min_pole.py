"""Pole power per 5 minutes against loops over every reading."""

import pytest

from .conftest import Built, assert_same_rows


def test_slots_equal_brute_force(built: Built) -> None:
    actual = {(r["pole_id"], r["slot_ts"]): r for r in built.rows("select * from v_5min_pole")}

    assert_same_rows(actual, built.reference.five_minutes(), {"min_voltage_v", "max_voltage_v"})


def test_slots_hold_measured_and_unmeasured_and_complete_power(built: Built) -> None:
    slots = built.reference.five_minutes().values()

    assert any(s["dr_power_kw"] is not None for s in slots)
    assert any(s["power_kw"] is not None and s["dr_power_kw"] is None for s in slots)
    assert any(s["power_kw"] is None for s in slots)
    assert any(s["estimated_meters"] for s in slots)
    assert any(s["missing_meters"] for s in slots)


def test_energy_of_all_slots_is_the_energy_of_all_readings(built: Built) -> None:
    reference = built.reference
    kwh = sum(
        row["power_kw"] * reference.interval_us[meter_id] / 3.6e9
        for meter_id, rows in reference.by_meter.items()
        for row in rows
        if row["received"]
    )

    (total,) = built.con.execute("select sum(covered_kwh) from v_5min_pole").fetchone()
    (health,) = built.con.execute("select sum(energy_kwh) from pole_health_hourly").fetchone()
    assert total == pytest.approx(kwh, rel=1e-12)
    assert health == pytest.approx(kwh, rel=1e-12)
