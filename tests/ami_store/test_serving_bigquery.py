"""BigQuery for many readers: what Google's own client sends, and what its answers become.

A small server stands for BigQuery's REST interface; what statements mean is judged elsewhere.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from ami_contract.errors import WarehouseError
from ami_store.serving import QueryTimeout, WarehouseAbsent, WarehouseOutdated
from ami_store.serving_bigquery import WATCHED, BigQueryServing
from ami_store.statements import ANOMALIES, DR_WINDOW, NEWEST, POLE_NAMES

AT = datetime(2026, 3, 1, tzinfo=UTC)
NOTHING = dict.fromkeys(ANOMALIES.parameters)


@dataclass
class Google:
    """BigQuery's side: what it answers and what it was asked."""

    client: bigquery.Client
    changed_ms: int = 1_772_323_200_000
    tables: bool = True
    refusal: tuple[int, str, str] | None = None
    pause_s: float = 0.0
    rows: list[list[str | None]] = field(default_factory=list)
    columns: list[tuple[str, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Status and body for a request."""
        if body is None:
            if not self.tables:
                return 404, _error(404, "notFound", "no such table")
            name = path.partition("?")[0].rpartition("/")[2]
            return 200, {
                "tableReference": {"projectId": "p", "datasetId": "ami", "tableId": name},
                "lastModifiedTime": str(self.changed_ms),
            }
        self.asked.append(body)
        time.sleep(self.pause_s)
        if self.refusal:
            return self.refusal[0], _error(*self.refusal)
        return 200, {
            "jobComplete": True,
            "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
            "schema": {"fields": [{"name": name, "type": kind} for name, kind in self.columns]},
            "rows": [{"f": [{"v": cell} for cell in row]} for row in self.rows],
            "totalRows": str(len(self.rows)),
        }


def _error(status: int, reason: str, message: str) -> dict[str, Any]:
    detail = {"reason": reason, "message": message}
    return {"error": {"code": status, "message": message, "errors": [detail]}}


@pytest.fixture
def google() -> Iterator[Google]:
    """A server on loopback and a client of it."""
    found: list[Google] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, body: dict[str, Any] | None) -> None:
            status, said = found[0].answer(self.path, body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    client = bigquery.Client(
        project="p",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=f"http://127.0.0.1:{server.server_port}"),
    )
    found.append(Google(client))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found[0]
    server.shutdown()
    server.server_close()


def serving(google: Google) -> BigQueryServing:
    """The warehouse, looked at once."""
    warehouse = BigQueryServing(google.client, "p.ami", "US", 10**9)
    warehouse.refresh()
    return warehouse


def test_values_travel_by_name_and_type_within_the_bounds(google: Google) -> None:
    google.columns = [("event_id", "STRING")]
    nasty = "p1'; drop table x; --"
    with serving(google).lease() as snapshot:
        snapshot.query(ANOMALIES, {**NOTHING, "start": AT, "pole_id": nasty, "row_limit": 11}, 7.0)

    (asked,) = google.asked
    assert nasty not in asked["query"]
    values = {each["name"]: each for each in asked["queryParameters"]}
    assert values.keys() == ANOMALIES.parameters
    assert values["pole_id"]["parameterType"] == {"type": "STRING"}
    assert values["pole_id"]["parameterValue"] == {"value": nasty}
    assert values["start"]["parameterType"] == {"type": "TIMESTAMP"}
    assert values["row_limit"]["parameterValue"] == {"value": "11"}
    assert values["scope"]["parameterValue"] == {"value": None}
    assert asked["maximumBytesBilled"] == str(10**9)
    assert asked["useLegacySql"] is False
    assert asked["labels"] == {"ami_api": "anomalies"}
    assert asked["jobTimeoutMs"] == "7000"
    assert asked["location"] == "US"
    assert asked["defaultDataset"] == {"projectId": "p", "datasetId": "ami"}


def test_lists_and_functions(google: Google) -> None:
    values = {"start": AT, "end": AT, "pole_ids": ["a", "b"], "method": "m", "adjustment": None}
    with serving(google).lease() as snapshot:
        assert snapshot.query(DR_WINDOW, values, 7.0) == []

    (asked,) = google.asked
    (poles,) = (each for each in asked["queryParameters"] if each["name"] == "pole_ids")
    assert poles["parameterType"] == {"type": "ARRAY", "arrayType": {"type": "STRING"}}
    assert poles["parameterValue"] == {"arrayValues": [{"value": "a"}, {"value": "b"}]}
    assert "from `p.ami`.dr_window(@start, @end, @pole_ids)" in asked["query"]


def test_rows_come_as_values_of_their_type(google: Google) -> None:
    google.columns = [
        ("oldest_event_ts", "TIMESTAMP"),
        ("newest_event_ts", "TIMESTAMP"),
        ("poles", "INTEGER"),
    ]
    google.rows = [["1772323200000000", None, "3"]]
    with serving(google).lease() as snapshot:
        rows = snapshot.query(NEWEST, {}, 7.0)

    assert rows == [{"oldest_event_ts": AT, "newest_event_ts": None, "poles": 3}]


def test_a_changed_mart_is_another_snapshot(google: Google) -> None:
    warehouse = serving(google)
    with warehouse.lease() as before:
        assert before.published_at == AT
        assert not warehouse.refresh()
        google.changed_ms += 1000
        assert warehouse.refresh()
        with warehouse.lease() as after:
            assert after.id != before.id


def test_without_marts_a_lease_says_what_to_do(google: Google) -> None:
    google.tables = False

    lease = serving(google).lease()
    with pytest.raises(WarehouseAbsent, match="dbt build --target bigquery"):
        lease.__enter__()
    assert len(WATCHED) > 3


@pytest.mark.parametrize(
    ("refusal", "error", "says"),
    [
        ((404, "notFound", "Not found: Table p.ami.x"), WarehouseOutdated, "dbt build"),
        ((400, "bytesBilledLimitExceeded", "Query exceeded limit"), WarehouseError, "exceeded"),
        ((403, "accessDenied", "no bigquery.jobs.create"), WarehouseError, "jobs.create"),
    ],
)
def test_refusals_are_errors_of_the_warehouse(
    google: Google, refusal: tuple[int, str, str], error: type[Exception], says: str
) -> None:
    google.refusal = refusal

    with serving(google).lease() as snapshot, pytest.raises(error, match=says):
        snapshot.query(POLE_NAMES, {}, 5.0)


def test_a_query_beyond_its_time_is_given_up(google: Google) -> None:
    google.pause_s = 3.0
    begin_s = time.monotonic()

    with serving(google).lease() as snapshot, pytest.raises(QueryTimeout, match="longer than"):
        snapshot.query(POLE_NAMES, {}, 0.5)

    assert time.monotonic() - begin_s < 10
