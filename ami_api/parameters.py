"""Parameters that endpoints share: gives their types, bounds and descriptions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Path, Query, Request

from ami_api.answers import CSV, Answering, Facts
from ami_api.models import Identifier
from ami_api.problems import KINDS, MEDIA_TYPE, Refused
from ami_api.times import EARLIEST, LATEST, Rfc3339

_MICROSECOND: Final = timedelta(microseconds=1)
_CURSOR_PATTERN: Final = r"^[A-Za-z0-9_-]{4,600}$"
_ID: Final = re.compile(r"[^\x00-\x1f]{1,300}")


def _answering(request: Request) -> Answering:
    found: Answering = request.app.state.answering
    return found


Answers = Annotated[Answering, Depends(_answering)]
PoleId = Annotated[Identifier, Path(description="Pole.", examples=["pole-0001"])]
MeterId = Annotated[Identifier, Path(description="Meter.", examples=["pole-0001-m0001"])]
Start = Annotated[
    Rfc3339 | None,
    Query(description="Begin of the window, RFC 3339 with offset; default: a day before its end."),
]
End = Annotated[
    Rfc3339 | None,
    Query(
        description="First moment after the window; default: the 5-minute mark after the newest "
        "reading."
    ),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of a page. [count]")]
CursorText = Annotated[
    str | None,
    Query(pattern=_CURSOR_PATTERN, description="next_cursor of the page before."),
]


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: after this item.

    Attributes:
        ts: time of the item; None where items have none.
        id: its name.
    """

    ts: datetime | None
    id: str

    def text(self) -> str:
        """The cursor as it travels."""
        ts_us = None if self.ts is None else (self.ts - EARLIEST) // _MICROSECOND
        return base64.urlsafe_b64encode(orjson.dumps([ts_us, self.id])).decode().rstrip("=")


def cursor_of(text: str | None, *, timed: bool) -> Cursor | None:
    """The cursor that `text` is; raises Refused when this API never wrote it."""
    if text is None:
        return None
    try:
        ts_us, name = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        well = isinstance(name, str) and _ID.fullmatch(name) is not None
        if timed:
            well = well and type(ts_us) is int and 0 <= ts_us < (LATEST - EARLIEST) // _MICROSECOND
        else:
            well = well and ts_us is None
    except (ValueError, TypeError, binascii.Error):
        well = False
    if not well:
        raise Refused.of(
            "cursor", "cursor is not the next_cursor of a page of this list", where="query.cursor"
        )
    return Cursor(EARLIEST + ts_us * _MICROSECOND if timed else None, name)


def known_pole(facts: Facts, pole_id: str) -> str:
    """The pole; raises Refused (404) when no reading and no registry names it."""
    if pole_id not in facts.poles:
        raise Refused(
            "unknown-pole",
            f"neither a reading nor the registry names the pole {pole_id!r}; /poles lists them",
        )
    return pole_id


def refusals(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Problems that an endpoint may answer with, for its description."""
    always = (
        "bad-request",
        "not-authenticated",
        "not-acceptable",
        "body-too-large",
        "invalid-request",
        "too-many-requests",
        "internal",
        "warehouse",
        "timeout",
    )
    found: dict[int | str, dict[str, Any]] = {}
    for kind in (*always, *kinds):
        status, title = KINDS[kind]
        known = found.get(status)
        described = f"{known['description']}; {title.lower()}" if known else title
        found[status] = {
            "description": described,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        if kind in ("too-many-requests", "warehouse"):
            found[status]["headers"] = {
                "Retry-After": {
                    "description": "When to try again. [s]",
                    "schema": {"type": "integer", "minimum": 0},
                }
            }
    return found


_VALIDITY: Final[Mapping[str, Any]] = {
    "ETag": {
        "description": "Names what is said; send it as If-None-Match.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {"description": "private, no-cache.", "schema": {"type": "string"}},
}


def described(
    *kinds: str, revalidates: bool = True, links: Mapping[str, tuple[str, str]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Answers of an endpoint beside its model: CSV, 304 and problems.

    Args:
        kinds: problems of its own.
        revalidates: whether its answers carry an ETag.
        links: operations that its first item leads to, each with a parameter and where the
            answer holds it.
    """
    answer: dict[str, Any] = {
        "content": {CSV: {"schema": {"type": "string"}}},
    }
    if links:
        answer["links"] = {
            operation: {
                "operationId": operation,
                "parameters": {parameter: f"$response.body#{place}"},
            }
            for operation, (parameter, place) in links.items()
        }
    found: dict[int | str, dict[str, Any]] = {200: answer, **refusals(*kinds)}
    if revalidates:
        answer["headers"] = dict(_VALIDITY)
        found[304] = {"description": "What the client has still holds"}
    return found
