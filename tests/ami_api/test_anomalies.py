"""Low-voltage events: which are listed, how pages follow, what stands beside one event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from small_warehouse import NEWEST, SAG, event_id, publish_small, rows_of_marts
from starlette.testclient import TestClient

from ami_contract.lake import DataDir

ALL = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-04T00:00:00Z"}
IDS = {event_id(number): number for number in range(1, 10)}


def numbers(answer: Any) -> list[int]:
    """Numbers of the events of an answer."""
    return [IDS[event["event_id"]] for event in answer.json()["anomalies"]]


def every_page(client: TestClient) -> list[int]:
    """Numbers of the events of all pages of two."""
    found: list[int] = []
    options: dict[str, Any] = {**ALL, "limit": 2}
    while True:
        answer = client.get("/anomalies", params=options)
        found += numbers(answer)
        options["cursor"] = answer.json()["next_cursor"]
        if options["cursor"] is None:
            return found


def test_events_come_newest_first(api: TestClient) -> None:
    found = numbers(api.get("/anomalies", params=ALL))

    # 1 and 2 start together; their ids decide.
    assert found == [3, *sorted([1, 2], key=event_id), 5, 4]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pole_id": "p2"}, [5, 4]),
        ({"meter_id": "m1"}, [3, 1]),
        ({"severity": "critical"}, [5]),
        ({"scope": "pole"}, sorted([1, 2], key=event_id)),
        ({"min_duration": 10}, [3, 5]),
        ({"min_duration": 10, "pole_id": "p2", "severity": "minor"}, []),
        ({"start": "2026-03-02T12:00:01Z"}, [3]),
        ({"end": "2026-03-01T07:00:00Z"}, [4]),
    ],
)
def test_filters_narrow_the_list(
    api: TestClient, options: dict[str, Any], expected: list[int]
) -> None:
    assert numbers(api.get("/anomalies", params={**ALL, **options})) == expected


def test_pages_hold_every_event_once(api: TestClient) -> None:
    assert every_page(api) == numbers(api.get("/anomalies", params=ALL))


@pytest.mark.parametrize("cursor", ["AAAA", "WzEsMl0", "eyJhIjoxfQ", "W251bGwsInAxIl0", "a" * 600])
def test_a_cursor_of_another_list_is_refused(api: TestClient, cursor: str) -> None:
    answer = api.get("/anomalies", params={**ALL, "cursor": cursor})

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:ami:problem:cursor"


def test_an_event_stands_with_the_voltage_of_all_meters_around_it(api: TestClient) -> None:
    answer = api.get(f"/anomalies/{event_id(2)}", params={"around": 5}).json()

    assert answer["anomaly"]["meter_id"] == "m2"
    assert [trace["meter_id"] for trace in answer["traces"]] == ["m2", "m1"]
    voltages = [sample["voltage_v"] for sample in answer["traces"][0]["samples"]]
    # 5 s before, 8 s low, 5 s after.
    assert voltages == [240.0] * 5 + [200.0] * 8 + [240.0] * 5
    assert answer["traces"][0]["samples"][0]["ts"] == "2026-03-02T11:59:55Z"
    assert not answer["traces_truncated"]


def test_meters_of_the_old_kind_would_not_have_seen_it(api: TestClient) -> None:
    means = api.get(f"/anomalies/{event_id(1)}").json()["interval_means"]

    # 240 s from 12:00:00 on are there, of which 6 at 200 V.
    assert [(mean["interval_s"], mean["start_ts"]) for mean in means] == [
        (300, "2026-03-02T12:00:00Z"),
        (900, "2026-03-02T12:00:00Z"),
        (3600, "2026-03-02T12:00:00Z"),
    ]
    for mean in means:
        assert mean["readings"] == 240
        assert mean["mean_voltage_v"] == pytest.approx((6 * 200 + 234 * 240) / 240)
        assert mean["min_voltage_v"] == 200.0


def test_a_superseded_event_names_what_it_became(api: TestClient) -> None:
    answer = api.get(f"/anomalies/{event_id(101)}")

    assert answer.status_code == 410
    assert answer.json()["superseded_by"] == event_id(1)
    assert event_id(1) in answer.headers["link"]
    assert api.get(f"/anomalies/{event_id(102)}").json()["superseded_by"] is None


def test_an_unknown_event_is_not_found(api: TestClient) -> None:
    assert api.get(f"/anomalies/{event_id(77)}").status_code == 404


SagEvent = dict[str, Any]


def serve_tail(serve: Callable[..., TestClient], data: DataDir, *events: SagEvent) -> TestClient:
    """An API whose live tail finds `events`."""
    publish_small(data, {**rows_of_marts(), "recent_rows": list(events)})
    return serve(data, landed=lambda: "landed")


def test_the_live_tail_shows_at_once_and_is_marked(
    data: DataDir, serve: Callable[..., TestClient]
) -> None:
    events = rows_of_marts()["voltage_events"]
    new = {**events[0], "event_id": event_id(9), "start_ts": SAG + timedelta(hours=2)}
    # The state of event 3 that the readings since the build have changed.
    longer = {**events[2], "duration_s": 120.0}

    answer = serve_tail(serve, data, new, longer).get("/anomalies", params=ALL)

    assert numbers(answer) == [9, 3, *sorted([1, 2], key=event_id), 5, 4]
    marked = {IDS[event["event_id"]]: event for event in answer.json()["anomalies"]}
    assert {number for number, event in marked.items() if event["provisional"]} == {9, 3}
    assert marked[3]["duration_s"] == 120.0
    assert answer.json()["live_tail"] == "included"


def test_pages_and_filters_take_provisional_events_once(
    data: DataDir, serve: Callable[..., TestClient]
) -> None:
    event = rows_of_marts()["voltage_events"][0]
    client = serve_tail(
        serve,
        data,
        {**event, "event_id": event_id(9), "start_ts": SAG + timedelta(hours=2)},
        {**event, "event_id": event_id(8), "start_ts": SAG - timedelta(hours=1)},
    )

    assert every_page(client) == [9, 3, *sorted([1, 2], key=event_id), 8, 5, 4]
    assert numbers(client.get("/anomalies", params={**ALL, "severity": "major"})) == [3]
    # Of a provisional event the reach is not known yet.
    assert numbers(client.get("/anomalies", params={**ALL, "scope": "undetermined"})) == [
        9, 8, 5, 4,
    ]  # fmt: skip


def test_a_window_without_end_takes_what_came_after_the_build(
    data: DataDir, serve: Callable[..., TestClient]
) -> None:
    event = rows_of_marts()["voltage_events"][0]
    after = NEWEST + timedelta(minutes=5)
    client = serve_tail(serve, data, {**event, "event_id": event_id(9), "start_ts": after})

    assert numbers(client.get("/anomalies")) == [9]
    assert numbers(client.get("/anomalies", params=ALL))[0] == 3


def test_a_provisional_event_can_be_shown(data: DataDir, serve: Callable[..., TestClient]) -> None:
    event = {
        **rows_of_marts()["voltage_events"][0],
        "event_id": event_id(9),
        "start_ts": NEWEST - timedelta(minutes=1),
        "end_ts": NEWEST,
    }

    answer = serve_tail(serve, data, event).get(f"/anomalies/{event_id(9)}").json()

    assert answer["anomaly"]["provisional"]
    assert answer["traces"] == []


def test_without_the_live_tail_the_built_events_are_told_and_that_it_is_missing(
    data: DataDir, serve: Callable[..., TestClient]
) -> None:
    publish_small(data)
    with duckdb.connect(str(data.published_warehouse)) as con:
        con.execute("DROP MACRO TABLE recent_sag_events")
    client = serve(data, landed=lambda: "landed")

    answer = client.get("/anomalies", params=ALL).json()

    assert answer["live_tail"] == "unavailable"
    assert len(answer["anomalies"]) == 5
