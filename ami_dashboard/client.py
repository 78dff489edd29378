"""The API from the pages' side: reads answers over HTTP, gives them as plain values.

What was answered is kept with its ETag, so that a page that refreshes itself asks only whether it
still holds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import httpx

from ami_contract.errors import AmiError

Json = dict[str, Any]
_KEPT: Final = 256
_TIMEOUT_S: Final = 30.0
# Of the longest list that a page makes sense of.
_MOST_PAGES: Final = 10


class ApiDown(AmiError):
    """Nobody answers at the address of the API."""


class ApiProblem(AmiError):
    """The API refuses, with a problem as of RFC 9457.

    Attributes:
        kind: such as `warehouse-absent`.
        title: the kind in words.
        detail: what happened and what to do.
        status: HTTP status.
    """

    def __init__(self, kind: str, title: str, detail: str, status: int) -> None:
        super().__init__(f"{title}: {detail}")
        self.kind = kind
        self.title = title
        self.detail = detail
        self.status = status


def utc_text(at: datetime) -> str:
    """RFC 3339 text of an instant."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def utc_time(text: str) -> datetime:
    """Instant of an RFC 3339 text."""
    return datetime.fromisoformat(text)


class Rows(list[Json]):
    """A list of the API.

    Attributes:
        is_cut: the API has more of them than a page makes sense of.
    """

    is_cut = False


class Api:
    """Everything that pages ask; may be used by several threads.

    All methods raise ApiDown when nobody answers and ApiProblem when the answer is a refusal.

    Args:
        url: address of the API.
        key: key that opens it, empty where it wants none.
        transport: way to it; None: the network.
    """

    def __init__(
        self, url: str, key: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"Accept": "application/json, application/problem+json;q=0.1"}
        if key:
            headers["X-API-Key"] = key
        try:
            self._client = httpx.Client(
                base_url=self.url, headers=headers, timeout=_TIMEOUT_S, transport=transport
            )
        except httpx.InvalidURL as error:
            raise ApiDown(f"{url!r} is no address of an API: {error}") from error
        self._kept: OrderedDict[tuple[object, ...], tuple[str, Json]] = OrderedDict()
        self._turn = threading.Lock()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def freshness(self) -> Json:
        """How new everything is, and which hop is stale."""
        return self._get("/freshness")

    def poles(self) -> Rows:
        """Every pole with its condition."""
        return self._all("/poles", "poles", {"limit": 1000})

    def summary(self, pole_id: str, start: datetime, end: datetime) -> Json:
        """A pole over a window."""
        return self._get(f"/pole/{quote(pole_id, safe='')}/summary", _window(start, end))

    def series(
        self, pole_id: str, metric: str, resolution: str, start: datetime, end: datetime
    ) -> list[Json]:
        """Points of a quantity of a pole."""
        options = {"metric": metric, "resolution": resolution, **_window(start, end)}
        points: list[Json] = self._get(f"/pole/{quote(pole_id, safe='')}/timeseries", options)[
            "points"
        ]
        return points

    def anomalies(
        self, start: datetime, end: datetime | None, *, most: int = 1000, **wanted: object
    ) -> Json:
        """Low-voltage events of a window, newest first, at most `most` of them."""
        options = {"start": utc_text(start), "limit": most, **wanted}
        if end is not None:
            options["end"] = utc_text(end)
        return self._get("/anomalies", options)

    def anomaly(self, event_id: str, around_s: float) -> Json:
        """An event with the voltage around it."""
        return self._get(f"/anomalies/{quote(event_id, safe='')}", {"around": around_s})

    def quality(self, start: datetime, end: datetime, pole_id: str | None = None) -> Json:
        """What was expected and received: `hours` of all, `meters` (`Rows`) one by one."""
        options = {"limit": 1000, "pole_id": pole_id, **_window(start, end)}
        first = self._get("/quality", options)
        return {**first, "meters": self._all("/quality", "meters", options, first)}

    def dead_letters(self, start: datetime, end: datetime) -> Json:
        """Readings refused in a window, by reason."""
        return self._get("/deadletters", _window(start, end))

    def dr_events(self) -> Rows:
        """Demand-response events that were called, newest first."""
        return self._all("/dr/events", "events", {"limit": 100})

    def dr_compute(
        self, start: datetime, end: datetime, poles: list[str], method: str, adjustment: str
    ) -> Json:
        """What an event shed; no poles means all."""
        body = {
            **_window(start, end),
            "pole_ids": poles or "all",
            "method": method,
            "adjustment": adjustment,
        }
        return _answer(self._send("POST", "/dr/compute", {}, {}, body))

    def _all(
        self, path: str, name: str, options: Mapping[str, object], first: Json | None = None
    ) -> Rows:
        page = first or self._get(path, options)
        rows = Rows(page[name])
        for _ in range(_MOST_PAGES - 1):
            if page["next_cursor"] is None:
                break
            page = self._get(path, {**options, "cursor": page["next_cursor"]})
            rows += page[name]
        rows.is_cut = page["next_cursor"] is not None
        return rows

    def _get(self, path: str, options: Mapping[str, object] | None = None) -> Json:
        given = {name: value for name, value in (options or {}).items() if value is not None}
        key = (path, *sorted((name, str(value)) for name, value in given.items()))
        with self._turn:
            etag, known = self._kept.get(key, ("", {}))
        answer = self._send("GET", path, given, {"If-None-Match": etag} if etag else {}, None)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return known
        found = _answer(answer)
        if "ETag" in answer.headers:
            with self._turn:
                self._kept[key] = (answer.headers["ETag"], found)
                self._kept.move_to_end(key)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return found

    def _send(
        self,
        method: str,
        path: str,
        options: Mapping[str, object],
        headers: Mapping[str, str],
        body: Json | None,
    ) -> httpx.Response:
        params = {name: str(value) for name, value in options.items()}
        try:
            return self._client.request(method, path, params=params, headers=headers, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiDown(f"no answer from {self.url} ({error or type(error).__name__})") from error


def _window(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": utc_text(start), "end": utc_text(end)}


def _answer(answer: httpx.Response) -> Json:
    """The body; raises ApiProblem unless it is a success."""
    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.is_success and isinstance(found, dict):
        return found
    said = found if isinstance(found, dict) else {}
    kind = str(said.get("type", "")).rpartition(":")[2] or "unreadable"
    title = str(said.get("title") or f"The API answers {answer.status_code}")
    detail = str(said.get("detail") or f"{answer.request.url} is perhaps not the API")
    raise ApiProblem(kind, title, detail, answer.status_code)
