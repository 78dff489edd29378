"""Freshness: the cause is named, and nothing that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from starlette.testclient import TestClient

from ami_api.freshness import Heard, limit_of, stale_hops
from ami_api.models import Hop

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
FRESH = NOW - timedelta(seconds=5)
OLD = NOW - timedelta(minutes=10)


def found(
    meters: Mapping[str, tuple[str, datetime | None] | tuple[str, datetime | None, timedelta]],
    landed: datetime | None = FRESH,
    marts: datetime = FRESH,
) -> list[tuple[Hop, str | None]]:
    """Hops and subjects that are stale."""
    heard = {meter_id: Heard(*told) for meter_id, told in meters.items()}
    return [(hop.hop, hop.subject) for hop in stale_hops(heard, landed, marts, NOW)]


def test_nothing_is_stale_while_everybody_is_heard() -> None:
    assert found({"m1": ("p1", FRESH), "m2": ("p1", FRESH)}) == []


def test_a_meter_is_stale_when_its_pole_speaks() -> None:
    meters = {"m1": ("p1", FRESH), "m2": ("p1", OLD), "m3": ("p1", None)}

    assert found(meters) == [(Hop.METER, "m2"), (Hop.METER, "m3")]


def test_of_a_silent_pole_its_meters_are_not_told() -> None:
    meters = {"m1": ("p1", FRESH), "m2": ("p2", OLD), "m3": ("p2", None)}

    assert found(meters) == [(Hop.POLE, "p2")]


def test_a_meter_is_stale_after_two_minutes_or_three_of_its_intervals() -> None:
    assert [limit_of(ms).total_seconds() for ms in (None, 1000, 40_000, 60_000, 300_000)] == [
        120, 120, 120, 180, 900,
    ]  # fmt: skip
    slow, ago = limit_of(300_000), [NOW - timedelta(seconds=s) for s in (900, 901)]

    meters = {"m1": ("p1", ago[0], slow), "m2": ("p1", ago[1], slow), "m3": ("p2", ago[1], slow)}
    assert found(meters) == [(Hop.POLE, "p2"), (Hop.METER, "m2")]
    assert found(meters, landed=ago[0], marts=ago[0]) == [(Hop.POLE, "p2"), (Hop.METER, "m2")]
    silent = {"m2": meters["m2"], "m3": meters["m3"], "m4": ("p1", OLD)}
    assert found(silent, landed=OLD, marts=OLD) == [(Hop.PIPELINE, None)]


def test_when_nothing_arrives_the_pipeline_is_stale_and_no_pole() -> None:
    meters = {"m1": ("p1", OLD), "m2": ("p2", OLD)}

    assert found(meters, landed=OLD, marts=OLD) == [(Hop.PIPELINE, None)]


def test_marts_that_do_not_follow_are_orchestration() -> None:
    late = NOW - timedelta(minutes=20)

    assert found({"m1": ("p1", FRESH)}, marts=late) == [(Hop.ORCHESTRATION, None)]


def test_without_a_look_at_the_storage_only_old_marts_are_told() -> None:
    meters = {"m1": ("p1", OLD)}

    assert found(meters, landed=None, marts=OLD) == []
    late = NOW - timedelta(minutes=20)
    assert found(meters, landed=None, marts=late) == [(Hop.PIPELINE, None)]


def test_the_answer_tells_poles_and_ages(api: TestClient) -> None:
    answer = api.get("/freshness").json()

    assert answer["marts_newest_event_ts"] == "2026-03-03T23:59:59Z"
    poles = {pole["pole_id"]: pole for pole in answer["poles"]}
    assert poles["p1"]["age_s"] == 601.0
    assert not poles["p1"]["is_fresh"]
    assert poles["p3"]["newest_event_ts"] is None
