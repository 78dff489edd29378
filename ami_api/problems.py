"""Problems as of RFC 9457: reads what went wrong, gives `application/problem+json` answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ami_contract.errors import AmiError, WarehouseError
from ami_store.serving import QueryTimeout, WarehouseAbsent, WarehouseOutdated

log = logging.getLogger("ami.api")

MEDIA_TYPE: Final = "application/problem+json"
# Kind of problem: status and title.
KINDS: Final[Mapping[str, tuple[int, str]]] = {
    "not-authenticated": (401, "Not authenticated"),
    "not-found": (404, "No such address"),
    "unknown-pole": (404, "Unknown pole"),
    "unknown-meter": (404, "Unknown meter"),
    "unknown-event": (404, "Unknown event"),
    "method-not-allowed": (405, "Method not allowed"),
    "not-acceptable": (406, "No such representation"),
    "superseded-event": (410, "The event was superseded"),
    "body-too-large": (413, "Body too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "invalid-request": (422, "Invalid request"),
    "window": (422, "Window out of bounds"),
    "cursor": (422, "Invalid cursor"),
    "unknown-poles": (422, "Unknown poles"),
    "window-in-future": (422, "Window in the future"),
    "no-history": (422, "No history"),
    "not-built": (422, "Not built yet"),
    "too-many-requests": (429, "Too many requests"),
    "bad-request": (400, "Bad request"),
    "internal": (500, "Internal error"),
    "warehouse": (503, "The warehouse does not answer"),
    "warehouse-absent": (503, "No warehouse yet"),
    "warehouse-outdated": (503, "The warehouse lacks something"),
    "warehouse-empty": (503, "The warehouse is empty"),
    "not-ready": (503, "Not ready"),
    "busy": (503, "Too busy"),
    "timeout": (504, "The query took too long"),
}
RETRY_AFTER_S: Final[Mapping[str, int]] = {
    "busy": 1,
    "warehouse": 5,
    "warehouse-absent": 10,
    "warehouse-empty": 10,
    "not-ready": 10,
}


@dataclass(eq=False)
class Refused(AmiError):
    """A request that is answered with a problem.

    Attributes:
        kind: one of `KINDS`.
        detail: what happened and what to do.
        errors: what is wrong with the request, one by one, as `where` and `detail`.
        extra: further members of the problem.
        headers: further headers of the answer.
    """

    kind: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    @classmethod
    def of(cls, kind: str, detail: str, *, where: str) -> Refused:
        """A problem with one parameter or body field."""
        return cls(kind, detail, [{"where": where, "detail": detail}])

    @property
    def status(self) -> int:
        """HTTP status."""
        return KINDS[self.kind][0]

    def response(self) -> Response:
        """The answer."""
        status, title = KINDS[self.kind]
        body: dict[str, Any] = {
            "type": f"urn:ami:problem:{self.kind}",
            "title": title,
            "status": status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        headers = {"Cache-Control": "no-store", **self.headers}
        if self.kind in RETRY_AFTER_S:
            headers.setdefault("Retry-After", str(RETRY_AFTER_S[self.kind]))
        return Response(
            orjson.dumps(body | self.extra),
            status_code=status,
            headers=headers,
            media_type=MEDIA_TYPE,
        )


def refusal_of(error: WarehouseError) -> Refused:
    """The problem that an error of the warehouse is for whoever asked."""
    kind = "warehouse"
    if isinstance(error, WarehouseAbsent):
        kind = "warehouse-absent"
    elif isinstance(error, WarehouseOutdated):
        kind = "warehouse-outdated"
    elif isinstance(error, QueryTimeout):
        kind = "timeout"
    return Refused(kind, str(error))


def install(app: FastAPI) -> None:
    """Have every error of `app` answered with a problem."""

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error.response()

    async def warehouse(request: Request, error: Exception) -> Response:
        assert isinstance(error, WarehouseError)
        log.warning("%s: %s", request.url.path, error)
        return refusal_of(error).response()

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        items = [
            {"where": _place(found["loc"]), "detail": _said(found)} for found in error.errors()
        ]
        text = "; ".join(f"{item['where']}: {item['detail']}" for item in items[:5])
        return Refused("invalid-request", text, items[:50]).response()

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = _KIND_OF_STATUS.get(error.status_code, "bad-request")
        detail = {
            404: "there is nothing at this address; /openapi.json lists what there is",
            405: "the address does not take this method; see the header Allow",
        }.get(error.status_code, error.detail or HTTPStatus(error.status_code).phrase)
        return Refused(kind, detail, headers=dict(error.headers or {})).response()

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(WarehouseError, warehouse)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


# What Starlette and FastAPI refuse by themselves.
_KIND_OF_STATUS: Final = {
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
}


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _said(found: Mapping[str, Any]) -> str:
    if found["type"] == "json_invalid":
        return "no valid JSON"
    return str(found["msg"]).removeprefix("Value error, ")
