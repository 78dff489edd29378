"""Event marts against state machines that walk every reading."""

from collections import Counter
from datetime import timedelta

import pytest

from .conftest import Built, assert_same_rows
from .fleet import START
from .reference_events import EventReference


@pytest.fixture(scope="module")
def expected(built: Built) -> EventReference:
    """Brute force over the session's lake."""
    return EventReference(built.reference, built.registry)


def test_variations_equal_brute_force_in_every_column(
    built: Built, expected: EventReference
) -> None:
    actual = {row.pop("event_id"): row for row in built.rows("select * from rms_variation_events")}
    events = expected.variations

    assert set(next(iter(actual.values()))) == set(next(iter(events.values())))
    assert_same_rows(actual, events, {"extreme_voltage_v"})


def test_the_fleet_shows_every_kind_of_variation(expected: EventReference) -> None:
    events = expected.variations.values()
    classes = Counter(e["ieee1159_class"] for e in events)

    assert len(classes) == 11, classes
    assert {e["ended_by"] for e in events} == {"recovery", "outage", "gap", "open"}
    assert {(e["includes_outage"], e["sample_count"] > 0) for e in events} == {
        (False, True),
        (True, True),
        (True, False),
    }
    assert {e["truncated_start"] for e in events} == {True, False}
    assert any(e["missing_count"] for e in events)
    assert any(e["extreme_voltage_pu"] in (0.8, 1.2) for e in events)


def test_outages_equal_brute_force_in_every_column(built: Built, expected: EventReference) -> None:
    actual = {row.pop("outage_id"): row for row in built.rows("select * from outages")}
    outages = expected.outages()

    assert set(next(iter(actual.values()))) == set(next(iter(outages.values())))
    assert_same_rows(actual, outages, {"gasp_voltage_v"})
    assert {o["ended_by"] for o in outages.values()} == {"power", "removal", "open"}


def test_outages_are_those_the_meters_were_put_through(built: Built) -> None:
    """From the script of the meter that loses no reading: (gasp, back) in seconds of the run."""
    rows = built.rows("select * from outages where meter_id = 'e1-short' order by start_ts")
    spans = [
        ((r["start_ts"] - START).total_seconds(), r["end_ts"] and (r["end_ts"] - START) // second)
        for r in rows
        for second in [timedelta(seconds=1)]
    ]

    assert spans == [
        (500, 501), (600, 603), (700, 760), (900, 961), (1200, 1210), (1300, 1310), (1400, 1440),
        (1500, 1600), (1700, 2200), (2300, 2320), (2400, 2410), (2410, 2420), (5900, None),
    ]  # fmt: skip


def test_silences_equal_brute_force_in_every_column(built: Built, expected: EventReference) -> None:
    actual = {row.pop("comm_loss_id"): row for row in built.rows("select * from comm_losses")}
    silences = expected.comm_losses()

    assert set(next(iter(actual.values()))) == set(next(iter(silences.values())))
    assert_same_rows(actual, silences, set())
    assert {s["ended_by"] for s in silences.values()} == {"reading", "removal", "open"}


def test_a_silence_counts_beyond_120_s_or_two_samples_of_a_slow_meter(built: Built) -> None:
    actual = {
        r["meter_id"].removeprefix("e1-"): (r["duration_s"], r["ended_by"])
        for r in built.rows("select * from comm_losses where starts_with(meter_id, 'e1-')")
    }
    # The lake's newest reading is 5999.5 s into the run, its oldest a jitter before it.
    assert actual.pop("quiet-start")[0] == pytest.approx(300, abs=3)
    assert actual.pop("quiet-end")[0] == pytest.approx(1000, abs=3)

    assert actual == {
        "quiet-121": (121, "reading"),
        "quiet-leaves": (300, "removal"),
        "minutes-3": (180, "reading"),
        "quarters-2": (1800, "reading"),
    }


def test_pole_events_equal_brute_force_in_every_column(
    built: Built, expected: EventReference
) -> None:
    poles, feeders = expected.pole_events()
    actual = {row.pop("pole_event_id"): row for row in built.rows("select * from pole_events")}

    assert set(next(iter(actual.values()))) == set(next(iter(poles.values())))
    assert_same_rows(actual, poles, {"min_voltage_v", "min_voltage_pu"})
    assert {p["scope"] for p in poles.values()} == {"meter", "pole", "feeder", "undetermined"}

    actual = {row.pop("feeder_event_id"): row for row in built.rows("select * from feeder_events")}
    assert set(next(iter(actual.values()))) == set(next(iter(feeders.values())))
    assert_same_rows(actual, feeders, {"min_voltage_pu"})


def test_every_low_voltage_event_is_in_exactly_one_pole_event(built: Built) -> None:
    (events,) = built.con.execute("select count(*) from voltage_events").fetchone()
    (grouped,) = built.con.execute("select sum(event_count) from pole_events").fetchone()

    assert events == grouped


def test_sarfi_counts_and_observation_equal_brute_force(
    built: Built, expected: EventReference
) -> None:
    key = ("unit_kind", "unit_id", "period_kind", "period_start", "threshold_pct")
    actual = {
        tuple(row.pop(name) for name in key): row
        for row in built.rows("select * from sarfi_indices")
    }
    indices = expected.sarfi()

    assert set(next(iter(actual.values()))) == set(next(iter(indices.values())))
    assert_same_rows(actual, indices, set())
    for pct in (140, 120, 110, 90, 80, 70, 50, 10):
        assert any(k[4] == pct and row["event_count"] for k, row in indices.items()), pct
    assert {row["status"] for row in indices.values()} == {"too_short", "not_assessable"}
