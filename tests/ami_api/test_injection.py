"""No parameter of any address is more than a value: not a piece of SQL, of a path or of a log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest
from starlette.testclient import TestClient

from ami_contract.lake import DataDir

DOCUMENT = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8")
)
HOSTILE = (
    "x' OR '1'='1",
    "pole-1' UNION SELECT 1,2,3 --",
    "'; DROP TABLE voltage_events; --",
    "\"; ATTACH '/etc/passwd' AS x; --",
    "pole-1'); COPY (SELECT 1) TO '/tmp/ami-injected'; --",
    "read_text('/etc/passwd')",
    "$1",
    "?",
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "\u0000",
    "p1\r\nSet-Cookie: a=b",
    "{{7*7}}",
    "9" * 400,
    "\ud7ff\uffff",
)


def strings() -> Iterator[tuple[str, str, str]]:
    """Method, address and name of every parameter, whatever its type."""
    for address, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] in ("path", "query"):
                    yield method, address, parameter["name"]


def ask(api: TestClient, method: str, address: str, name: str, value: str) -> Any:
    """An answer with `value` for one parameter and names of nobody for the others."""
    if f"{{{name}}}" in address:
        return api.request(method, address.replace(f"{{{name}}}", quote(value, safe="")))
    for part in ("pole_id", "meter_id", "event_id"):
        address = address.replace(f"{{{part}}}", "pole-1")
    return api.request(method, address, params={name: value})


@pytest.mark.parametrize(("method", "address", "name"), strings())
def test_a_hostile_value_is_no_more_than_a_value(
    api: TestClient, method: str, address: str, name: str
) -> None:
    for value in HOSTILE:
        answer = ask(api, method, address, name, value)
        assert answer.status_code in (404, 422), f"{value!r}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert "set-cookie" not in answer.headers
        for leak in ("root:x:", "SELECT ", "duckdb", "Traceback"):
            assert leak not in answer.text
    assert not Path("/tmp/ami-injected").exists()


@pytest.mark.parametrize("field", ["start", "end", "pole_ids", "method", "adjustment"])
def test_a_hostile_value_of_a_body_is_refused(api: TestClient, field: str) -> None:
    good = {
        "start": "2026-03-03T16:00:00Z",
        "end": "2026-03-03T17:00:00Z",
        "pole_ids": ["pole-1"],
    }
    for value in HOSTILE:
        body = good | {field: [value] if field == "pole_ids" else value}
        answer = api.post("/dr/compute", json=body)
        assert answer.status_code in (404, 422), f"{value!r}: {answer.text}"
        assert "SELECT " not in answer.text


def test_the_tables_are_all_there_afterwards(api: TestClient, small: DataDir) -> None:
    assert api.get("/poles").status_code == 200
    with duckdb.connect(str(small.published_warehouse), read_only=True) as con:
        names = {
            name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }
    assert "voltage_events" in names
