"""Answers: form by Accept, ETags by snapshot, gzip, and memory that stays bounded."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from small_warehouse import publish_small, rows_of_marts
from starlette.testclient import TestClient

from ami_api.answers import negotiated
from ami_api.cache import Body, BodyCache
from ami_api.problems import Refused
from ami_contract.lake import DataDir

DAY = "start=2026-03-02T00:00:00Z&end=2026-03-03T00:00:00Z"
LISTS = [
    ("/poles", "poles", 3),
    (f"/pole/p1/timeseries?{DAY}", "points", 288),
    (f"/anomalies?{DAY}", "anomalies", 3),
    (f"/meters/m1/quality?{DAY}", "hours", 24),
    ("/dr/events", "events", 3),
    ("/freshness", "poles", 3),
]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("text/csv;q=0.4, */*;q=0.5", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("text/csv, application/json", "application/json"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
    ],
)
def test_the_form_is_what_the_client_likes_best(accept: str | None, expected: str) -> None:
    assert negotiated(accept) == expected


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", "text/csv;q=0", "text/csv;q=x"])
def test_a_client_that_takes_neither_form_is_told(accept: str) -> None:
    with pytest.raises(Refused, match="application/json"):
        negotiated(accept)


@pytest.mark.parametrize(("address", "name", "count"), LISTS)
def test_csv_holds_the_rows_of_the_json(
    api: TestClient, address: str, name: str, count: int
) -> None:
    items = api.get(address).json()[name]
    answer = api.get(address, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.headers["content-type"].startswith("text/csv")
    assert len(rows) == len(items) == count
    assert list(rows[0]) == list(items[0])
    for column, value in items[0].items():
        if isinstance(value, str | int) and not isinstance(value, bool):
            assert rows[0][column] == str(value)


def test_a_summary_is_one_row_of_csv(api: TestClient) -> None:
    answer = api.get(f"/pole/p1/summary?{DAY}", headers={"Accept": "text/csv"})
    (row,) = csv.DictReader(io.StringIO(answer.text))

    assert row["pole.pole_id"] == "p1"
    assert float(row["power.peak_kw"]) == 5.0


def test_an_etag_holds_until_the_next_publication(
    tmp_path: Path, serve: Callable[..., TestClient]
) -> None:
    data = DataDir(tmp_path / "data")
    publish_small(data)
    client = serve(data)
    first = client.get("/poles")
    etag = {"If-None-Match": f'"other", {first.headers["etag"]}'}
    assert client.get("/poles", headers=etag).status_code == 304
    assert client.get("/poles?limit=2", headers=etag).status_code == 200
    assert client.get("/poles", headers={**etag, "Accept": "text/csv"}).status_code == 200

    publish_small(data, {**rows_of_marts(), "dim_pole": rows_of_marts()["dim_pole"][:2]})
    client.app.state.answering.warehouse.refresh()  # type: ignore[attr-defined]
    again = client.get("/poles", headers=etag)

    assert again.status_code == 200
    assert len(again.json()["poles"]) == 2


def test_answers_of_a_snapshot_are_let_go_of_with_it(
    tmp_path: Path, serve: Callable[..., TestClient]
) -> None:
    data = DataDir(tmp_path / "data")
    publish_small(data)
    client = serve(data)
    answering = client.app.state.answering  # type: ignore[attr-defined]
    for address in ("/poles", f"/pole/p1/timeseries?{DAY}", "/dr/events"):
        client.get(address)
    held_of_three = answering.cache.held_bytes

    publish_small(data)
    assert answering.warehouse.refresh()
    client.get("/dr/events")

    assert 0 < answering.cache.held_bytes < held_of_three / 2


def test_long_answers_are_gzipped_for_those_who_take_it(api: TestClient) -> None:
    address = f"/pole/p1/timeseries?{DAY}"
    plain = api.get(address, headers={"Accept-Encoding": "identity"})
    with api.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())

    assert "content-encoding" not in plain.headers
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 5
    assert "Accept-Encoding" in answer.headers["vary"]


def _body(text: str) -> Body:
    return Body(text.encode(), "text/plain", text)


def test_the_cache_keeps_what_was_used_last_within_its_bound() -> None:
    cache = BodyCache(most_bytes=3 * 2000)
    for name in ("a", "b", "c"):
        cache.put(name, _body(name * 900))
    assert cache.get("a") is not None

    cache.put("d", _body("d" * 900))

    assert cache.get("b") is None
    assert all(cache.get(name) for name in ("a", "c", "d"))
    assert cache.held_bytes <= 3 * 2000
    cache.put("huge", _body("x" * 9000))
    assert cache.get("huge") is None


def test_who_asks_at_the_same_time_shares_one_answer() -> None:
    made = 0

    async def ask() -> list[Body]:
        cache = BodyCache(10_000)

        def make() -> object:
            async def made_slowly() -> Body:
                nonlocal made
                made += 1
                await asyncio.sleep(0.01)
                return _body("x")

            return made_slowly()

        return await asyncio.gather(*(cache.get_or_make("k", make) for _ in range(20)))  # type: ignore[arg-type]

    bodies = asyncio.run(ask())

    assert made == 1
    assert {id(body) for body in bodies} == {id(bodies[0])}


def test_an_error_is_not_kept() -> None:
    async def ask() -> Body:
        cache = BodyCache(10_000)

        async def failing() -> Body:
            raise ValueError("first")

        async def well() -> Body:
            return _body("x")

        with pytest.raises(ValueError, match="first"):
            await cache.get_or_make("k", failing)
        await asyncio.sleep(0)
        return await cache.get_or_make("k", well)

    assert asyncio.run(ask()).plain == b"x"


def test_numbers_and_times_are_written_as_they_are(api: TestClient) -> None:
    raw = orjson.loads(api.get(f"/anomalies?{DAY}").content)["anomalies"][0]

    assert raw["start_ts"] == "2026-03-02T13:00:00Z"
    assert raw["min_voltage_pu"] == 200 / 240
