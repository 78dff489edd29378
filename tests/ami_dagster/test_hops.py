"""Which hop is stale, for each combination that tells hops apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ami_dagster.alerts.hops import (
    Hop,
    HopState,
    Limits,
    MeterSeen,
    Observation,
    Standing,
    findings,
    hops,
    minutes,
)
from ami_dagster.alerts.kinds import AlertKind
from ami_store.backlog import Backlog

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
LIMITS = Limits(silence=timedelta(minutes=10), arrival=timedelta(minutes=5))
FRESH, STALE, MASKED, UNKNOWN = Standing


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def meter(name: str, pole: str, silent_min: float, interval_s: float = 1.0) -> MeterSeen:
    return MeterSeen(name, pole, ago(silent_min), interval_s=interval_s)


def backlog(messages: int = 0, leased: int = 0, oldest_min: float = 0, told: float = 0) -> Backlog:
    return Backlog(ago(told), messages, leased, oldest_min * 60)


WELL = Observation(
    at=NOW,
    meters=(meter("m1", "p1", 0), meter("m2", "p1", 1), meter("m3", "p2", 2)),
    backlog=backlog(messages=3, leased=3, oldest_min=0.1),
    arrived_at=ago(0),
    ticked_at=ago(4),
    built_at=ago(3),
    snapshot_at=ago(4),
    unpublished_since=ago(3),
    uncompacted_since=ago(3),
)
SILENT = (meter("m1", "p1", 11), meter("m2", "p1", 20), meter("m3", "p2", 30))


def standings(seen: Observation) -> list[Standing]:
    return [state.standing for state in hops(seen, LIMITS)]


def state(seen: Observation, hop: Hop) -> HopState:
    return next(each for each in hops(seen, LIMITS) if each.hop == hop)


def test_hops_come_in_the_order_of_the_way() -> None:
    assert [each.hop for each in hops(WELL, LIMITS)] == [
        "meter",
        "pole",
        "backhaul",
        "pipeline",
        "orchestration",
        "serving",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, [FRESH] * 6, id="all is well"),
        pytest.param(
            {"meters": (meter("m1", "p1", 0), meter("m2", "p1", 11), meter("m3", "p2", 0))},
            [STALE, FRESH, FRESH, FRESH, FRESH, FRESH],
            id="one meter of a pole that speaks",
        ),
        pytest.param(
            {"meters": (meter("m1", "p1", 11), meter("m2", "p1", 12), meter("m3", "p2", 0))},
            [FRESH, STALE, FRESH, FRESH, FRESH, FRESH],
            id="a whole pole while another speaks",
        ),
        pytest.param(
            {
                "meters": (
                    meter("m1", "p1", 11),
                    meter("m2", "p1", 12),
                    meter("m3", "p2", 0),
                    meter("m4", "p2", 15),
                )
            },
            [STALE, STALE, FRESH, FRESH, FRESH, FRESH],
            id="a pole, and a meter of another",
        ),
        pytest.param(
            {"meters": SILENT, "arrived_at": ago(11), "backlog": backlog()},
            [UNKNOWN, UNKNOWN, STALE, MASKED, MASKED, MASKED],
            id="nothing arrives",
        ),
        pytest.param(
            {"meters": SILENT, "arrived_at": ago(11), "backlog": None},
            [UNKNOWN, UNKNOWN, STALE, MASKED, MASKED, MASKED],
            id="nothing arrives, backlog unknown",
        ),
        pytest.param(
            {"meters": SILENT, "arrived_at": ago(11), "backlog": backlog(500, 0, 11)},
            [UNKNOWN, UNKNOWN, STALE, MASKED, MASKED, MASKED],
            id="messages wait and nobody pulls",
        ),
        pytest.param(
            {"meters": SILENT, "arrived_at": ago(11), "backlog": backlog(told=6)},
            [UNKNOWN, UNKNOWN, STALE, MASKED, MASKED, MASKED],
            id="Pub/Sub is down",
        ),
        pytest.param(
            {"meters": SILENT, "arrived_at": ago(11), "backlog": backlog(500, 300, 11)},
            [UNKNOWN, UNKNOWN, FRESH, STALE, MASKED, MASKED],
            id="the ingest holds messages and stores none",
        ),
        pytest.param(
            {"backlog": backlog(500, 300, 11)},
            [UNKNOWN, UNKNOWN, FRESH, STALE, MASKED, MASKED],
            id="the ingest lags",
        ),
        pytest.param(
            {
                "meters": SILENT,
                "arrived_at": ago(11),
                "backlog": backlog(),
                "refused_at": ago(1),
            },
            [UNKNOWN, UNKNOWN, FRESH, STALE, MASKED, MASKED],
            id="all that arrives is refused",
        ),
        pytest.param(
            {"uncompacted_since": ago(26)},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="stored readings are not compacted",
        ),
        pytest.param(
            {"unpublished_since": ago(26), "built_at": ago(27)},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="stored readings are not built",
        ),
        pytest.param(
            {"ticked_at": ago(13)},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="no schedule ticks",
        ),
        pytest.param(
            {"unbuilt_hours": {ago(120): ago(41)}},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="a closed hour is not built whole",
        ),
        pytest.param(
            {"overdue": ("pole_health_daily",)},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="a day is not made",
        ),
        pytest.param(
            {"unpublished_since": ago(26), "built_at": ago(16)},
            [FRESH, FRESH, FRESH, FRESH, FRESH, STALE],
            id="built and not published",
        ),
        pytest.param(
            {"snapshot_at": None, "snapshot_problem": "no such catalog"},
            [FRESH, FRESH, FRESH, FRESH, FRESH, STALE],
            id="the snapshot cannot be read",
        ),
        pytest.param(
            {"uncompacted_since": ago(26), "failing_jobs": ("detect_sags",)},
            [FRESH, FRESH, FRESH, FRESH, MASKED, MASKED],
            id="a failed run explains that readings wait",
        ),
        pytest.param(
            {"uncompacted_since": ago(26), "failing_jobs": ("refresh_weeks",)},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="a failed week explains nothing of hours",
        ),
        pytest.param(
            {"ticked_at": ago(13), "failing_jobs": ("detect_sags",)},
            [FRESH, FRESH, FRESH, FRESH, STALE, MASKED],
            id="a failed run does not explain missing ticks",
        ),
        pytest.param(
            {"meters": SILENT, "arrived_at": ago(30), "backlog": backlog(), "ticked_at": ago(30)},
            [UNKNOWN, UNKNOWN, STALE, MASKED, MASKED, MASKED],
            id="nothing arrives and no schedule ticks: the first hop is named",
        ),
        pytest.param(
            {"meters": (), "arrived_at": None, "backlog": None, "ticked_at": None},
            [UNKNOWN] * 6,
            id="an empty lake",
        ),
        pytest.param(
            {"meters": ()},
            [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, FRESH, FRESH],
            id="meters cannot be read",
        ),
    ],
)
def test_the_first_stale_hop_is_the_cause(
    change: dict[str, object], expected: list[Standing]
) -> None:
    assert standings(replace(WELL, **change)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "at_the_limit",
    [
        {"meters": (meter("m1", "p1", 10), meter("m2", "p1", 0))},
        {"meters": (meter("m1", "p1", 10), meter("m2", "p2", 10))},
        {"backlog": backlog(5, 0, 5)},
        {"backlog": backlog(5, 0, 4, told=1)},
        {"ticked_at": ago(12)},
        {"uncompacted_since": ago(25)},
        {"unpublished_since": ago(25), "built_at": ago(26)},
        {"unbuilt_hours": {ago(120): ago(40)}},
        {"unpublished_since": ago(26), "built_at": ago(15)},
    ],
    ids=str,
)
def test_at_its_limit_a_hop_is_still_fresh(at_the_limit: dict[str, object]) -> None:
    assert standings(replace(WELL, **at_the_limit)) == [FRESH] * 6  # type: ignore[arg-type]


def test_readings_of_old_are_told_from_no_readings() -> None:
    old = replace(WELL, meters=SILENT, backlog=backlog())
    assert state(old, Hop.BACKHAUL).reason == (
        "only old readings arrive: the newest event_ts is 11 min old"
    )
    none = replace(old, arrived_at=ago(11))
    assert state(none, Hop.BACKHAUL).reason == "no pole has spoken: silent for 11 min"


def test_a_meter_that_samples_every_quarter_of_an_hour_is_silent_after_three_quarters() -> None:
    slow = (meter("m1", "p1", 45, interval_s=900), meter("m2", "p1", 0))
    assert standings(replace(WELL, meters=slow))[0] == FRESH
    slow = (meter("m1", "p1", 46, interval_s=900), meter("m2", "p1", 0))
    assert state(replace(WELL, meters=slow), Hop.METER).found == {"m1": "on p1, silent for 46 min"}


def test_a_clock_ahead_is_no_silence() -> None:
    ahead = (meter("m1", "p1", -4), meter("m2", "p1", 0))
    assert standings(replace(WELL, meters=ahead)) == [FRESH] * 6


def test_a_meter_that_was_never_heard_is_said_to_be_so() -> None:
    never = MeterSeen("m4", "p1", ago(120), is_heard=False)
    found = state(replace(WELL, meters=(*WELL.meters, never)), Hop.METER).found
    assert found == {"m4": "on p1, not heard for at least 2.0 h"}


def test_the_reasons_name_numbers_and_times() -> None:
    unpulled = replace(WELL, backlog=backlog(500, 0, 11))
    assert state(unpulled, Hop.BACKHAUL).reason == (
        "500 messages wait, the oldest for 11 min, and nobody pulls them"
    )
    assert (
        "stores, but lags" in state(replace(WELL, backlog=backlog(500, 9, 11)), Hop.PIPELINE).reason
    )
    assert (
        "stores none"
        in state(replace(WELL, backlog=backlog(500, 9, 11), arrived_at=ago(6)), Hop.PIPELINE).reason
    )


def test_what_is_not_judged_stays_out_of_the_findings() -> None:
    nothing = replace(WELL, meters=SILENT, arrived_at=ago(11), backlog=backlog())
    assert findings(hops(nothing, LIMITS)) == {
        AlertKind.NOTHING_ARRIVES: {"": "no pole has spoken: silent for 11 min"}
    }


def test_meters_of_a_silent_pole_stay_as_they_were() -> None:
    pole = (meter("m1", "p1", 11), meter("m2", "p1", 12), meter("m3", "p2", 0))
    found = findings(hops(replace(WELL, meters=pole), LIMITS))
    assert found[AlertKind.METER_SILENT] == {"m1": None, "m2": None}
    assert found[AlertKind.POLE_SILENT] == {"p1": "all meters (2), silent for 11 min"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (172_800, "2.0 d")],
)
def test_spans_are_short_for_people(seconds: float, text: str) -> None:
    assert minutes(timedelta(seconds=seconds)) == text
