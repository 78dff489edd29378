"""Low-voltage events against a state machine that walks every reading."""

from collections import Counter

from .conftest import Built, assert_same_rows

EXACT = {"duration_s", "min_voltage_v", "min_voltage_pu"}


def test_events_equal_brute_force_in_every_column(built: Built) -> None:
    actual = {row["event_id"]: row for row in built.rows("select * from voltage_events")}
    expected = {event["event_id"]: event for event in built.reference.events}

    assert set(next(iter(actual.values()))) == set(next(iter(expected.values())))
    assert_same_rows(actual, expected, EXACT)


def test_the_fleet_shows_every_kind_of_event(built: Built) -> None:
    events = built.reference.events

    assert len(events) > 200
    wanted: dict[str, set[object]] = {
        "ended_by": {"recovery", "gap", "outage", "open"},
        "evidence": {"observed", "inferred"},
        "severity": {"minor", "major", "critical"},
        "scope": {"meter", "pole", "feeder", "undetermined"},
        "coarse": {True, False},
        "truncated_start": {True, False},
    }
    for column, kinds in wanted.items():
        assert set(Counter(e[column] for e in events)) >= kinds, column
    assert any(e["missing_count"] for e in events)
    assert any(e["start_ts"].day != e["end_ts"].day for e in events), "one crosses midnight"
