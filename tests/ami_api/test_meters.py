"""Meters: the quality of their data, in total and hour by hour."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


def test_quality_of_a_day_in_total_and_by_the_hour(api: TestClient) -> None:
    answer = api.get(
        "/meters/m1/quality",
        params={"start": "2026-03-02T00:00:00Z", "end": "2026-03-02T23:30:00Z"},
    ).json()

    total = answer["total"]
    assert (total["hours"], total["expected"], total["received"]) == (24, 86_400, 86_300)
    assert (total["missing"], total["lost"], total["late"], total["duplicates"]) == (
        100, 100, 72, 240,
    )  # fmt: skip
    assert total["missing_rate"] == pytest.approx(100 / 86_400)
    assert total["coverage"] == pytest.approx(86_300 / 86_400)
    assert [hour["hour_ts"][11:13] for hour in answer["hours"]] == [f"{h:02}" for h in range(24)]
    assert answer["hours"][12]["missing"] == 100
    (day,) = answer["voltage_days"]
    assert (day["local_date"], day["range_a_share"]) == ("2026-03-02", 0.75)


def test_a_meter_without_readings_has_empty_quality(api: TestClient) -> None:
    answer = api.get("/meters/m4/quality").json()

    assert answer["meter"]["last_seen_ts"] is None
    assert answer["total"]["expected"] == 0
    assert answer["total"]["coverage"] is None
    assert answer["hours"] == []


def test_an_unknown_meter_is_not_found(api: TestClient) -> None:
    answer = api.get("/meters/m9/quality")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:ami:problem:unknown-meter"
