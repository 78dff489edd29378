"""What goes wrong is told as a problem, with what to do, and without how the server is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from small_warehouse import publish_small
from starlette.testclient import TestClient

from ami_contract.errors import WarehouseError
from ami_contract.lake import DataDir
from ami_store.serving import QueryTimeout, Row
from ami_store.statements import Statement

Serve = Callable[..., TestClient]
ADDRESSES = (
    "/ready",
    "/poles",
    "/pole/p1/summary",
    "/pole/p1/timeseries",
    "/anomalies",
    "/anomalies/0cc175b9c0f1b6a831c399e269772661",
    "/meters/m1/quality",
    "/dr/events",
    "/quality",
    "/deadletters",
    "/freshness",
)
# These ask nothing of the warehouse.
ALWAYS = {"/health", "/metrics"}
DR = {"start": "2026-03-03T16:00:00Z", "end": "2026-03-03T18:00:00Z"}


def assert_problem(answer: object, status: int, kind: str, says: str) -> None:
    """Fail unless an answer is this problem."""
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    body = answer.json()  # type: ignore[attr-defined]
    assert body["type"] == f"urn:ami:problem:{kind}"
    assert body["status"] == status
    assert says in body["detail"]


def test_every_address_is_among_those_that_are_asked_here(api: TestClient) -> None:
    asked = {
        re.sub("/(p1|m1|[0-9a-f]{32})(?=/|$)", "/{}", address) for address in ADDRESSES
    } | ALWAYS
    paths = api.get("/openapi.json").json()["paths"]

    assert asked == {re.sub("{.*}", "{}", path) for path, ways in paths.items() if "get" in ways}


def test_without_a_warehouse_every_question_says_what_to_do(data: DataDir, serve: Serve) -> None:
    client = serve(data)

    for address in ADDRESSES:
        answer = client.get(address)
        assert_problem(answer, 503, "warehouse-absent", "run `ami build`")
        assert int(answer.headers["retry-after"]) > 0
    assert_problem(client.post("/dr/compute", json=DR), 503, "warehouse-absent", "ami build")
    for address in ALWAYS:
        assert client.get(address).status_code == 200


def test_an_empty_warehouse_says_so(data: DataDir, serve: Serve) -> None:
    publish_small(data, {})
    client = serve(data)

    for address in ADDRESSES:
        assert_problem(client.get(address), 503, "warehouse-empty", "no readings yet")
    assert_problem(client.post("/dr/compute", json=DR), 503, "warehouse-empty", "no readings")
    for address in ALWAYS:
        assert client.get(address).status_code == 200


def test_a_pole_without_data_is_told_as_such_at_every_address(api: TestClient) -> None:
    """p3 with its meter m4 is registered and has never reported."""
    day = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}

    def asked(address: str, **more: str) -> dict[str, Any]:
        answer = api.get(address, params=day | more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    (listed,) = (each for each in api.get("/poles").json()["poles"] if each["pole_id"] == "p3")
    assert (listed["meters_registered"], listed["last_seen_ts"]) == (1, None)
    summary = asked("/pole/p3/summary")
    assert summary["power"]["energy_kwh"] is None
    assert summary["voltage"]["min_voltage_v"] is None
    assert asked("/pole/p3/timeseries", metric="voltage_v")["points"] == []
    assert asked("/anomalies", pole_id="p3")["anomalies"] == []
    quality = asked("/meters/m4/quality")
    assert (quality["total"]["expected"], quality["hours"]) == (0, [])
    (meter,) = asked("/quality", pole_id="p3")["meters"]
    assert (meter["expected"], meter["coverage"], meter["last_seen_ts"]) == (0, None, None)
    (fresh,) = (p for p in api.get("/freshness").json()["poles"] if p["pole_id"] == "p3")
    assert fresh["newest_event_ts"] is None
    refused = api.post("/dr/compute", json={**DR, "pole_ids": ["p3"]})
    assert_problem(refused, 422, "no-history", "too few days with readings of p3")


def test_a_warehouse_without_tables_says_so(data: DataDir, serve: Serve) -> None:
    data.published_warehouse.parent.mkdir(parents=True)
    duckdb.connect(str(data.published_warehouse)).close()
    client = serve(data)

    for address in ADDRESSES:
        assert_problem(client.get(address), 503, "warehouse-outdated", "run `ami build`")


def test_a_damaged_warehouse_says_so(data: DataDir, serve: Serve) -> None:
    data.published_warehouse.parent.mkdir(parents=True)
    data.published_warehouse.write_bytes(b"no database" * 1000)
    client = serve(data)

    assert_problem(client.get("/poles"), 503, "warehouse", "cannot be opened")


def test_a_warehouse_that_goes_and_comes_is_followed(data: DataDir, serve: Serve) -> None:
    client = serve(data)
    assert client.get("/poles").status_code == 503
    warehouse = client.app.state.answering.warehouse  # type: ignore[attr-defined]

    publish_small(data)
    warehouse.refresh()
    assert client.get("/poles").status_code == 200
    data.published_warehouse.unlink()
    warehouse.refresh()
    assert client.get("/poles").status_code == 503


@dataclass
class Failing:
    """A warehouse whose every statement fails."""

    error: Exception
    check_every_s: float = 60.0
    id: str = "failing"
    published_at: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    listed_at: datetime | None = None

    @contextmanager
    def lease(self) -> Iterator[Failing]:
        """Itself."""
        yield self

    def query(
        self, statement: Statement, parameters: Mapping[str, object], timeout_s: float
    ) -> list[Row]:
        """Raise the error."""
        raise self.error

    def refresh(self) -> bool:
        """Nothing new."""
        return True

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize(
    ("error", "status", "kind", "says"),
    [
        (QueryTimeout("poles took longer than 1 s"), 504, "timeout", "longer than 1 s"),
        (WarehouseError("BigQuery refuses poles: quota"), 503, "warehouse", "quota"),
        (RuntimeError("secret-path /srv/x.py"), 500, "internal", "its log tells why"),
    ],
)
def test_failures_of_the_warehouse_become_problems(
    data: DataDir, serve: Serve, error: Exception, status: int, kind: str, says: str
) -> None:
    client = serve(data, warehouse=Failing(error))

    for address in ADDRESSES:
        answer = client.get(address)
        assert_problem(answer, status, kind, says)
        assert "Traceback" not in answer.text
        assert "secret-path" not in answer.text or kind != "internal"


def test_addresses_and_methods_that_are_none_are_problems(api: TestClient) -> None:
    assert_problem(api.get("/nothing"), 404, "not-found", "/openapi.json")
    answer = api.delete("/poles")
    assert_problem(answer, 405, "method-not-allowed", "Allow")
    assert answer.headers["allow"] == "GET"
    assert_problem(api.get("/pole/p%2F1/summary"), 404, "not-found", "nothing")
    assert_problem(api.get("/pole/p%201/summary"), 422, "invalid-request", "path.pole_id")


def test_readiness_tells_the_age_and_fails_beyond_the_limit(
    small: DataDir, serve: Serve, tmp_path: Path
) -> None:
    published = datetime.fromtimestamp(small.published_warehouse.stat().st_mtime, UTC)
    later = published.replace(year=published.year + 1)

    found = serve(small, now=lambda: later).get("/ready").json()
    assert found["published_age_s"] > 300 * 86_400
    assert found["newest_event_ts"] == "2026-03-03T23:59:59Z"
    strict = serve(small, now=lambda: later, api_ready_max_age_s=900.0)
    assert_problem(strict.get("/ready"), 503, "not-ready", "900 s")


def test_too_many_questions_at_once_are_sent_away(small: DataDir, serve: Serve) -> None:
    client = serve(small)
    answering = client.app.state.answering  # type: ignore[attr-defined]
    answering._inside = answering._most

    answer = client.get("/anomalies?limit=7")

    assert_problem(answer, 503, "busy", "try again")
    assert answer.headers["retry-after"] == "1"
