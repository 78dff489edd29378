"""Hourly pole health against loops over every reading."""

from .conftest import Built, assert_same_rows


def test_hours_equal_brute_force(built: Built) -> None:
    actual = {
        (r["pole_id"], r["hour_ts"]): r for r in built.rows("select * from pole_health_hourly")
    }
    expected = built.reference.health()
    for row in (*actual.values(), *expected.values()):
        # σ from sums of squares: absolute error up to √(1e-16 · v²) where the voltage is steady.
        for column in ("volatility_v", "volatility_pu"):
            row[column] = row[column] and round(row[column], 6)

    assert_same_rows(actual, expected, {"min_voltage_v", "max_voltage_v"})


def test_the_fleet_shows_lost_unsampled_and_silent_meters(built: Built) -> None:
    hours = built.reference.health().values()

    assert any(h["lost"] for h in hours)
    assert any(h["not_sampled"] for h in hours)
    assert any(h["meters_reporting"] < h["meters_registered"] for h in hours)
    assert any(h["meters_unregistered"] for h in hours)
    assert any(h["score"] is None for h in hours)
    assert any(h["score_loading"] not in (None, 0, 1) for h in hours)
    assert any(h["loading"] is None and h["score"] is not None for h in hours)
