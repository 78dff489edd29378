"""Demand response: what a window shed, and which windows and poles are refused, and why."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

WINDOW = {"start": "2026-03-03T16:00:00Z", "end": "2026-03-03T18:00:00Z", "pole_ids": ["p1", "p2"]}


def test_a_window_in_total_by_pole_and_by_slot(api: TestClient) -> None:
    answer = api.post("/dr/compute", json=WINDOW)

    assert answer.status_code == 200
    found = answer.json()
    # Two poles shed 1 of 4 kW for two hours.
    assert found["total"] == {
        "baseline_kwh": 16.0, "actual_kwh": 12.0, "shed_kwh": 4.0, "shed_pct": 25.0,
        "rebound_kwh": None, "poles": 2, "unknown_poles": [], "coverage": 1.0,
    }  # fmt: skip
    assert (found["method"], found["adjustment"]) == ("caiso_10_of_10", "multiplicative")
    assert [pole["pole_id"] for pole in found["poles"]] == ["p1", "p2"]
    assert len(found["intervals"]) == 24
    assert found["intervals"][0]["slot_ts"] == "2026-03-03T16:00:00Z"
    assert all(slot["shed_kw"] == 2.0 for slot in found["intervals"])
    assert answer.headers["cache-control"] == "no-store"


def test_the_own_adjustment_is_the_methods(api: TestClient) -> None:
    for method, adjustment in (("pjm_high_4_of_5", "additive"), ("median_n", "multiplicative")):
        found = api.post("/dr/compute", json={**WINDOW, "method": method}).json()
        assert found["adjustment"] == adjustment
    found = api.post("/dr/compute", json={**WINDOW, "adjustment": "none"}).json()
    assert found["adjustment"] == "none"


def test_some_poles_alone(api: TestClient) -> None:
    found = api.post("/dr/compute", json={**WINDOW, "pole_ids": ["p1", "p1"]}).json()

    assert found["total"]["poles"] == 1
    assert found["total"]["shed_kwh"] == 2.0
    assert found["accuracy"] == {"gate": "pass", "passed": 1, "failed": 0, "not_assessable": 0}


def test_a_pole_that_cannot_be_assessed_is_no_pass(api: TestClient) -> None:
    found = api.post("/dr/compute", json=WINDOW).json()

    assert found["accuracy"] == {
        "gate": "not_assessable", "passed": 1, "failed": 0, "not_assessable": 1,
    }  # fmt: skip
    assert found["poles"][0]["accuracy"]["rrmse"] == 0.1


def test_an_unknown_pole_makes_the_total_unknown_and_is_named(api: TestClient) -> None:
    earlier = {"start": "2026-03-02T16:00:00Z", "end": "2026-03-02T18:00:00Z"}
    earlier |= {"pole_ids": ["p1", "p2"]}

    found = api.post("/dr/compute", json=earlier).json()

    assert found["total"]["shed_kwh"] is None
    assert found["total"]["unknown_poles"] == ["p2"]
    assert found["total"]["coverage"] == 0.5
    assert found["poles"][1]["null_reason"] == "insufficient_days"
    assert found["intervals"][0]["shed_kw"] is None
    assert found["intervals"][0]["known_poles"] == 1


def test_a_pole_that_never_reported_has_no_shed_and_takes_that_of_all(api: TestClient) -> None:
    alone = api.post("/dr/compute", json={**WINDOW, "pole_ids": ["p3"]})

    assert alone.status_code == 422
    assert alone.json()["type"] == "urn:ami:problem:no-history"
    assert "too few days with readings of p3" in alone.json()["detail"]
    total = api.post("/dr/compute", json={**WINDOW, "pole_ids": "all"}).json()["total"]
    assert (total["poles"], total["unknown_poles"], total["shed_kwh"]) == (3, ["p3"], None)


@pytest.mark.parametrize(
    ("change", "kind", "where"),
    [
        ({"start": "2026-03-03T16:02:00Z"}, "window", "body.start"),
        ({"end": "2026-03-03T18:00:01Z"}, "window", "body.end"),
        ({"end": "2026-03-03T16:00:00Z"}, "window", "body.end"),
        ({"end": "2026-03-03T15:00:00Z"}, "window", "body.end"),
        ({"start": "2026-03-02T16:00:00Z"}, "window", "body.end"),
        (
            {"start": "2026-03-04T16:00:00Z", "end": "2026-03-04T18:00:00Z"},
            "window-in-future",
            "body.end",
        ),
        (
            {"start": "2026-03-03T23:00:00Z", "end": "2026-03-04T00:05:00Z"},
            "not-built",
            "body.end",
        ),
        (
            {"start": "2026-03-01T16:00:00Z", "end": "2026-03-01T18:00:00Z"},
            "no-history",
            "body.start",
        ),
        ({"pole_ids": ["p1", "p9"]}, "unknown-poles", "body.pole_ids"),
        ({"pole_ids": []}, "invalid-request", None),
        ({"pole_ids": "p1"}, "invalid-request", None),
        ({"method": "guess"}, "invalid-request", "body.method"),
        ({"adjustment": "much"}, "invalid-request", "body.adjustment"),
        ({"start": "2026-03-03T16:00:00"}, "invalid-request", "body.start"),
        ({"start": 1772553600}, "invalid-request", "body.start"),
        ({"extra": 1}, "invalid-request", "body.extra"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    api: TestClient, change: dict[str, Any], kind: str, where: str | None
) -> None:
    answer = api.post("/dr/compute", json={**WINDOW, **change})

    assert answer.status_code == 422
    assert answer.json()["type"] == f"urn:ami:problem:{kind}"
    assert where is None or where in [item["where"] for item in answer.json()["errors"]]


def test_poles_without_history_are_no_zero(api: TestClient) -> None:
    earlier = {"start": "2026-03-02T16:00:00Z", "end": "2026-03-02T18:00:00Z"}
    answer = api.post("/dr/compute", json={**earlier, "pole_ids": ["p2"]})

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:ami:problem:no-history"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"1e999"])
def test_a_body_that_is_no_request_is_refused(api: TestClient, body: bytes) -> None:
    answer = api.post("/dr/compute", content=body, headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_called_events_come_newest_first_with_their_totals(api: TestClient) -> None:
    events = api.get("/dr/events").json()["events"]

    assert [event["event_id"] for event in events] == ["heat-2", "heat-1", "heat-0"]
    assert events[0]["totals"] == []
    assert len(events[1]["totals"]) == 18
    assert events[1]["totals"][0]["shed_kwh"] == 2.0
    assert events[2]["pole_ids"] == ["p1", "p2"]
    assert events[2]["totals"][0]["unknown_poles"] == ["p2"]
    assert events[2]["totals"][0]["shed_kwh"] is None


def test_pages_hold_every_called_event_once(api: TestClient) -> None:
    found, address = [], "/dr/events?limit=1"
    while address:
        answer = api.get(address)
        found += [event["event_id"] for event in answer.json()["events"]]
        address = answer.links.get("next", {}).get("url", "")

    assert found == ["heat-2", "heat-1", "heat-0"]
