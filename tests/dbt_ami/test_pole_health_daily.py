"""Daily health of poles and feeders against loops over every reading."""

from datetime import datetime

import pytest

from .conftest import Built, assert_same_rows
from .fleet import Row
from .reference_quality import health_days

# A pole is one pole; the latency of a feeder is not given.
_OF_ONE_UNIT = {
    "poles",
    "poles_reporting",
    "worst_hour_latency_median_s",
    "worst_hour_latency_p95_s",
}
Days = dict[str, dict[tuple[str, datetime], Row]]


@pytest.fixture(scope="module")
def days(built: Built) -> Days:
    return {unit: health_days(built.reference, f"{unit}_id") for unit in ("pole", "feeder")}


@pytest.mark.parametrize("unit", ["pole", "feeder"])
def test_days_equal_brute_force(built: Built, days: Days, unit: str) -> None:
    actual = {
        (r[f"{unit}_id"], r["day_ts"]): r for r in built.rows(f"select * from {unit}_health_daily")
    }
    expected = {key: dict(row) for key, row in days[unit].items()}
    columns = set(next(iter(actual.values())))
    for row in (*actual.values(), *expected.values()):
        # σ from sums of squares: absolute error up to √(1e-16 · v²) where the voltage is steady.
        for column in ("volatility_v", "volatility_pu"):
            row[column] = row[column] and round(row[column], 6)
        for column in _OF_ONE_UNIT - columns:
            row.pop(column, None)

    assert columns == {f"{unit}_id", "day_ts", *next(iter(expected.values()))}
    assert_same_rows(actual, expected, {"min_voltage_v", "max_voltage_v"})


def test_a_day_counts_what_its_hours_count(built: Built) -> None:
    """Counts that belong to one instant each add up; a rate or a score of hours never does."""
    differing = built.rows(
        """
        with hours as (
            select
                pole_id,
                date_trunc('day', hour_ts) as day_ts,
                sum(received) as received,
                sum(valid_10min_intervals) as valid_10min_intervals,
                sum(events_minor + events_major + events_critical) as events,
                max(peak_kw) as peak_kw,
                sum(energy_kwh) as energy_kwh
            from pole_health_hourly
            group by all
        )

        select *
        from pole_health_daily as days
        full outer join hours using (pole_id, day_ts)
        where
            days.received is distinct from hours.received
            or days.valid_10min_intervals is distinct from hours.valid_10min_intervals
            or days.events_minor + days.events_major + days.events_critical
            is distinct from hours.events
            or days.peak_kw is distinct from hours.peak_kw
            or round(days.energy_kwh, 9) is distinct from round(hours.energy_kwh, 9)
        """
    )

    assert differing == []


def test_the_fleet_shows_known_and_unknown_days(days: Days) -> None:
    poles = days["pole"].values()
    # The feeders of the random fleet, each with four poles; other fleets share the lake.
    feeders = [day for (feeder, _), day in days["feeder"].items() if feeder.startswith("f-pole")]

    assert any(d["score"] is None for d in poles)
    assert any(d["score"] is not None for d in poles)
    assert any(d["meters_unregistered"] for d in poles)
    assert all(d["poles"] == 4 for d in feeders)
    assert any(d["poles_reporting"] < d["poles"] for d in feeders)
    assert any(d["meters_with_event"] for d in feeders)
