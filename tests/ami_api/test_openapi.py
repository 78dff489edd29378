"""The OpenAPI document: committed as it is served, with units, examples and every problem."""

from __future__ import annotations

import json
import re
from typing import Any

from ami_api.render import DOCUMENT, ROOT, openapi_json

FOUND: dict[str, Any] = json.loads(openapi_json())
SCHEMAS: dict[str, Any] = FOUND["components"]["schemas"]
QUANTITY = re.compile(r"_(v|kw|kwh|kva|s|ms|pct|pu)$")
UNIT = re.compile(r"\[[^\]]+\]")


def test_the_committed_document_is_what_the_code_says() -> None:
    committed = (ROOT / DOCUMENT).read_text(encoding="utf-8")

    assert committed == openapi_json(), "run `python -m ami_api.render`"


def test_every_field_is_described_and_every_quantity_has_a_unit() -> None:
    for name, schema in SCHEMAS.items():
        for field, described in schema.get("properties", {}).items():
            if "const" in described:
                continue
            # Of an enumeration that says the same, the description is left to it.
            named = SCHEMAS.get(described.get("$ref", "").rpartition("/")[2], {})
            text = described.get("description") or named.get("description", "")
            assert text, f"{name}.{field}"
            if QUANTITY.search(field):
                assert UNIT.search(text), f"{name}.{field}: {text}"


def test_every_parameter_is_described() -> None:
    for operations in FOUND["paths"].values():
        for operation in operations.values():
            assert operation["operationId"]
            assert operation["description"]
            for parameter in operation.get("parameters", []):
                assert parameter["description"], parameter["name"]


def test_every_refusal_is_a_problem_of_rfc_9457() -> None:
    for path, operations in FOUND["paths"].items():
        for operation in operations.values():
            assert {"400", "429", "500"} <= operation["responses"].keys(), path
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"]


def test_the_addresses_are_those_that_clients_know() -> None:
    assert {
        f"{method.upper()} {path}"
        for path, operations in FOUND["paths"].items()
        for method in operations
    } == {
        "GET /health",
        "GET /ready",
        "GET /metrics",
        "GET /freshness",
        "GET /poles",
        "GET /pole/{pole_id}/summary",
        "GET /pole/{pole_id}/timeseries",
        "GET /anomalies",
        "GET /anomalies/{event_id}",
        "GET /meters/{meter_id}/quality",
        "GET /quality",
        "GET /deadletters",
        "POST /dr/compute",
        "GET /dr/events",
    }
