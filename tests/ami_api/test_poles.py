"""Poles: lists, summaries and time series say what the marts hold."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

DAY = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}


def test_poles_come_by_name_with_their_newest_hour(api: TestClient) -> None:
    answer = api.get("/poles").json()

    assert [pole["pole_id"] for pole in answer["poles"]] == ["p1", "p2", "p3"]
    assert answer["next_cursor"] is None
    p1 = answer["poles"][0]
    assert p1["health_hour_ts"] == "2026-03-03T23:00:00Z"
    assert (p1["health_score"], p1["peak_kw"], p1["meters_reporting"]) == (100.0, 2.0, 2)


def test_a_pole_without_readings_is_listed_with_nothing_known(api: TestClient) -> None:
    p3 = api.get("/poles").json()["poles"][2]

    assert (p3["last_seen_ts"], p3["health_score"], p3["peak_kw"]) == (None, None, None)


def test_pages_hold_every_pole_once(api: TestClient) -> None:
    found, address = [], "/poles?limit=1"
    while address:
        answer = api.get(address)
        found += [pole["pole_id"] for pole in answer.json()["poles"]]
        address = answer.links.get("next", {}).get("url", "")

    assert found == ["p1", "p2", "p3"]


def test_poles_of_one_feeder(api: TestClient) -> None:
    answer = api.get("/poles", params={"feeder_id": "f2"}).json()

    assert [pole["pole_id"] for pole in answer["poles"]] == ["p2", "p3"]


def test_summary_of_a_day_equals_the_hand_worked_numbers(api: TestClient) -> None:
    answer = api.get("/pole/p1/summary", params=DAY).json()

    # 287 slots of 2 kW and one of 5 kW.
    assert answer["power"]["slots"] == answer["power"]["power_slots"] == 288
    assert answer["power"]["energy_kwh"] == pytest.approx((287 * 2 + 5) / 12)
    assert answer["power"]["mean_kw"] == pytest.approx((287 * 2 + 5) / 288)
    assert answer["power"]["peak_kw"] == 5.0
    assert answer["power"]["peak_slot_ts"] == "2026-03-02T18:00:00Z"
    assert answer["power"]["coverage"] == 1.0
    assert answer["voltage"] == {
        "readings": 288 * 600,
        "min_voltage_v": 200.0,
        "mean_voltage_v": 240.0,
        "max_voltage_v": 242.0,
    }
    health = answer["health"]
    assert (health["health_hours"], health["latest_score"], health["lowest_score"]) == (24, 100, 70)
    assert (health["missing"], health["lost"], health["not_sampled"]) == (100, 60, 40)
    assert health["missing_rate"] == pytest.approx(100 / (24 * 7200))
    assert health["low_readings_pct"] == pytest.approx(0.2 * 7100 / (24 * 7200 - 100))
    events = answer["events"]
    assert (events["events"], events["events_minor"], events["events_major"]) == (3, 2, 1)
    assert (events["meters_with_event"], events["longest_event_s"]) == (2, 90.0)
    assert events["outages"] == 0


def test_an_outage_counts_where_it_touches_the_window(api: TestClient) -> None:
    assert api.get("/pole/p2/summary", params=DAY).json()["events"]["outages"] == 1


def test_a_summary_without_window_is_of_the_newest_day(api: TestClient) -> None:
    window = api.get("/pole/p1/summary").json()["window"]

    assert window == {"start": "2026-03-03T00:00:00Z", "end": "2026-03-04T00:00:00Z"}


def test_times_of_a_request_carry_their_offset(api: TestClient) -> None:
    west = {"start": "2026-03-01T16:00:00-08:00", "end": "2026-03-02T16:00:00-08:00"}

    assert api.get("/pole/p1/summary", params=west).json() == (
        api.get("/pole/p1/summary", params=DAY).json()
    )
    # A + that nobody escaped in the address.
    east = "/pole/p1/summary?start=2026-03-02T01:00:00+01:00&end=2026-03-03T01:00:00+01:00"
    assert api.get(east).json()["window"] == DAY


def test_a_pole_without_readings_has_an_empty_summary(api: TestClient) -> None:
    answer = api.get("/pole/p3/summary", params=DAY).json()

    assert answer["power"]["slots"] == 0
    assert answer["power"]["energy_kwh"] is None
    assert answer["health"]["missing_rate"] is None
    assert answer["events"]["events"] == 0


@pytest.mark.parametrize(
    ("metric", "unit", "value", "least", "most"),
    [
        ("power_kw", "kW", (11 * 2 + 5) / 12, 2.0, 5.0),
        ("energy_kwh", "kWh", (11 * 2 + 5) / 12, None, None),
        ("voltage_v", "V", 240.0, 238.0, 242.0),
        ("coverage", "1", 1.0, 1.0, 1.0),
    ],
)
def test_an_hour_of_slots_becomes_one_point(
    api: TestClient, metric: str, unit: str, value: float, least: float | None, most: float | None
) -> None:
    window = {"start": "2026-03-02T18:20:00Z", "end": "2026-03-02T18:40:00Z"}
    answer = api.get(
        "/pole/p1/timeseries", params={"metric": metric, "resolution": "1h", **window}
    ).json()

    assert answer["unit"] == unit
    assert answer["window"] == {"start": "2026-03-02T18:00:00Z", "end": "2026-03-02T19:00:00Z"}
    (point,) = answer["points"]
    assert point["value"] == pytest.approx(value)
    assert (point["min"], point["max"], point["valid_share"]) == (least, most, 1.0)


@pytest.mark.parametrize(
    ("resolution", "points"), [("1m", 60), ("5m", 12), ("15m", 4), ("1h", 1), ("1d", 1)]
)
def test_every_resolution_covers_the_window(api: TestClient, resolution: str, points: int) -> None:
    window = {"start": "2026-03-02T12:00:00Z", "end": "2026-03-02T13:00:00Z"}
    answer = api.get("/pole/p1/timeseries", params={"resolution": resolution, **window}).json()

    assert len(answer["points"]) == points
    assert answer["points"] == sorted(answer["points"], key=lambda point: point["ts"])


def test_minutes_add_up_to_their_energy(api: TestClient) -> None:
    window = {"start": "2026-03-02T12:00:00Z", "end": "2026-03-02T13:00:00Z"}
    answer = api.get(
        "/pole/p1/timeseries", params={"metric": "energy_kwh", "resolution": "1m", **window}
    ).json()

    assert sum(point["value"] for point in answer["points"]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("path", "window", "kind"),
    [
        ("/pole/p1/summary", {"start": "2026-03-02T00:00:00Z", "end": "2026-03-02T00:00:00Z"}, 0),
        ("/pole/p1/summary", {"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, 0),
        ("/pole/p1/summary", {"start": "2025-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, 1),
        (
            "/pole/p1/timeseries",
            {
                "start": "2026-02-01T00:00:00Z",
                "end": "2026-03-01T00:00:00Z",
                "resolution": "1m",
            },
            1,
        ),
    ],
)
def test_a_window_out_of_bounds_is_refused_with_the_bound(
    api: TestClient, path: str, window: dict[str, str], kind: int
) -> None:
    answer = api.get(path, params=window)

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:ami:problem:window"
    assert ("at most" if kind else "not before") in answer.json()["detail"]


@pytest.mark.parametrize(
    "text",
    ["2026-03-02", "2026-03-02T00:00:00", "1772323200", "2026-13-02T00:00:00Z", "", "now",
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-02T00:00:00Z'--"],
)  # fmt: skip
def test_a_time_that_is_none_is_refused(api: TestClient, text: str) -> None:
    answer = api.get("/pole/p1/summary", params={"start": text})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "query.start"


def test_an_unknown_pole_is_not_found(api: TestClient) -> None:
    for path in ("/pole/p9/summary", "/pole/p9/timeseries", "/anomalies?pole_id=p9"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:ami:problem:unknown-pole"
