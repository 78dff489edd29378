"""Quality of the fleet and refused readings: in total, by the hour, by the meter, by reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, hour_folder
from ami_store.refusals import refusal_counts

DAY = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}
HOUR = datetime(2026, 3, 3, 14, tzinfo=UTC)


def test_quality_of_all_meters_by_the_hour_and_by_the_meter(api: TestClient) -> None:
    answer = api.get("/quality", params=DAY).json()

    assert len(answer["hours"]) == 24
    noon = answer["hours"][12]
    assert (noon["meters"], noon["expected"], noon["missing"], noon["late"]) == (3, 10_800, 300, 9)
    assert noon["coverage"] == pytest.approx(10_500 / 10_800)
    assert [meter["meter_id"] for meter in answer["meters"]] == ["m1", "m2", "m3", "m4"]
    first, *_, silent = answer["meters"]
    assert (first["expected"], first["missing"], first["late"]) == (86_400, 100, 72)
    assert first["missing_rate"] == pytest.approx(100 / 86_400)
    assert (silent["expected"], silent["coverage"], silent["missing_rate"]) == (0, None, None)


def test_quality_of_one_pole_comes_in_pages(api: TestClient) -> None:
    first = api.get("/quality", params={**DAY, "pole_id": "p1", "limit": 1}).json()
    second = api.get(
        "/quality",
        params={**DAY, "pole_id": "p1", "limit": 1, "cursor": first["next_cursor"]},
    ).json()

    assert [meter["meter_id"] for meter in first["meters"] + second["meters"]] == ["m1", "m2"]
    assert second["next_cursor"] is None
    assert first["hours"][0]["expected"] == second["hours"][0]["expected"] == 7200
    assert api.get("/quality", params={"pole_id": "p9"}).status_code == 404


def _refuse(data: DataDir, name: str, hour: datetime, *letters: dict[str, object]) -> None:
    path = data.deadletter / "segments" / hour_folder(hour) / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"ingest_ts": (hour + timedelta(minutes=1)).isoformat(), "payload": "x", **each})
        for each in letters
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def refused(data: DataDir) -> DataDir:
    """Four letters that count (one twice there), one replayed, one of another hour."""
    _refuse(
        data,
        "one",
        HOUR,
        {"dead_letter_id": "a", "code": "not_json", "field": None, "readings": 7},
        {"dead_letter_id": "b", "code": "out_of_range", "field": "voltage_v"},
        {"dead_letter_id": "c", "code": "out_of_range", "field": "voltage_v"},
        {"dead_letter_id": "d", "code": "out_of_range", "field": "current_a"},
    )
    _refuse(
        data,
        "two",
        HOUR,
        {"dead_letter_id": "b", "code": "out_of_range", "field": "voltage_v"},
        {"dead_letter_id": "e", "code": "out_of_range", "field": "voltage_v"},
    )
    _refuse(data, "old", HOUR - timedelta(hours=5), {"dead_letter_id": "f", "code": "not_json"})
    data.deadletter_replayed.mkdir()
    (data.deadletter_replayed / "r.json").write_text('{"ids": ["e"]}')
    return data


def test_refused_readings_are_counted_once_by_reason(refused: DataDir) -> None:
    found = refusal_counts(refused)(HOUR, HOUR + timedelta(hours=1))

    assert [(row["code"], row["field"], row["letters"], row["readings"]) for row in found] == [
        ("not_json", None, 1, 7),
        ("out_of_range", "voltage_v", 2, 2),
        ("out_of_range", "current_a", 1, 1),
    ]
    assert refusal_counts(refused)(HOUR + timedelta(hours=1), HOUR + timedelta(hours=9)) == []


def test_a_damaged_segment_is_told(refused: DataDir) -> None:
    damaged = next((refused.deadletter / "segments").rglob("one.jsonl"))
    damaged.write_text("no letter\n")

    with pytest.raises(LakeError, match="cannot be read"):
        refusal_counts(refused)(HOUR, HOUR + timedelta(hours=1))


def test_dead_letters_are_those_that_arrived_in_the_window(
    small: DataDir, refused: DataDir, serve: Callable[..., TestClient]
) -> None:
    client = serve(small, refusals=refusal_counts(refused))
    answer = client.get("/deadletters").json()
    narrow = client.get(
        "/deadletters", params={"start": "2026-03-03T14:00:00Z", "end": "2026-03-03T15:00:00Z"}
    ).json()

    assert (answer["is_known"], answer["letters"], answer["readings"]) == (True, 5, 11)
    assert (narrow["letters"], narrow["reasons"][0]["code"]) == (4, "not_json")


def test_where_the_dead_letter_cannot_be_asked_it_says_so(api: TestClient) -> None:
    answer = api.get("/deadletters").json()

    assert (answer["is_known"], answer["reasons"]) == (False, [])
