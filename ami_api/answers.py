"""Answers: reads a request and what makes its answer, gives JSON or CSV with cache headers.

An answer depends on the snapshot and the question alone, so it is made once per snapshot, kept as
bytes and named by an ETag that is known before it is made.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from ami_api.cache import Body, BodyCache
from ami_api.metrics import Metrics
from ami_api.models import Page, table_columns, table_row
from ami_api.problems import Refused
from ami_store.serving import QueryTimeout, Row, ServingWarehouse, Snapshot
from ami_store.statements import NEWEST, POLE_NAMES, Statement

JSON: Final = "application/json"
CSV: Final = "text/csv"
_T = TypeVar("_T")
# So many questions may wait for a thread before more are sent away.
_MOST_WAITING: Final = 64


@dataclass(frozen=True)
class Facts:
    """What requests need to know of a snapshot before they ask it.

    Attributes:
        oldest: oldest reading.
        newest: newest reading.
        poles: all poles.
    """

    oldest: datetime
    newest: datetime
    poles: frozenset[str]


@dataclass(frozen=True)
class Question:
    """Asks one snapshot within one deadline, in a thread of its own.

    Attributes:
        snapshot: the state that is asked.
        facts: what is known of it.
    """

    snapshot: Snapshot
    facts: Facts
    _deadline: float
    _timeout_s: float
    _metrics: Metrics
    _helpers: Executor

    def together(self, *asked: tuple[Statement, Mapping[str, object]]) -> list[list[Row]]:
        """Rows of several statements, asked side by side; raises what `rows` raises."""
        futures = [
            self._helpers.submit(self.rows, statement, **parameters)
            for statement, parameters in asked[1:]
        ]
        first = self.rows(asked[0][0], **asked[0][1])
        return [first, *(future.result() for future in futures)]

    def rows(self, statement: Statement, **parameters: object) -> list[Row]:
        """Rows of a statement; raises what `Snapshot.query` raises."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise QueryTimeout(
                f"the answer took longer than {self._timeout_s:g} s; ask for a shorter window"
            )
        with self._metrics.timed(statement.name):
            return self.snapshot.query(statement, parameters, left_s)

    def row(self, statement: Statement, **parameters: object) -> Row | None:
        """The only row of a statement, None without any."""
        return next(iter(self.rows(statement, **parameters)), None)


@dataclass(frozen=True)
class Made:
    """An answer and how it is written.

    Attributes:
        answer: what is said.
        items: its list that a CSV holds; None: the answer itself is its only row.
        item: model of a row of the CSV.
    """

    answer: BaseModel
    items: Sequence[BaseModel] | None
    item: type[BaseModel]


Make = Callable[[Question], Made]


class Answering:
    """Everything an endpoint needs to answer.

    Args:
        warehouse: what is asked.
        metrics: counts what happens.
        threads: questions answered side by side.
        timeout_s: longest time for one answer.
        cache_bytes: memory for answers.
    """

    def __init__(
        self,
        warehouse: ServingWarehouse,
        metrics: Metrics,
        *,
        threads: int,
        timeout_s: float,
        cache_bytes: int,
    ) -> None:
        self.warehouse = warehouse
        self.cache = BodyCache(cache_bytes)
        self._kept_of = ""
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="question")
        self._helpers = ThreadPoolExecutor(threads, thread_name_prefix="beside")
        self._most = threads + _MOST_WAITING
        self._inside = 0
        self._facts: dict[str, Facts] = {}
        self._facts_turn = threading.Lock()

    def close(self) -> None:
        """Wait for what is being asked, ask nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._helpers.shutdown(wait=True, cancel_futures=True)

    async def give(
        self,
        request: Request,
        question: Mapping[str, Hashable],
        make: Make,
        *,
        volatile: str = "",
        revalidates: bool = True,
    ) -> Response:
        """The answer to a request.

        Args:
            request: its headers choose form and validity.
            question: all that the answer depends on beside snapshot and address.
            make: makes the answer; runs in a thread.
            volatile: state of whatever else it depends on.
            revalidates: whether the client may keep the answer and ask whether it still holds.

        Raises:
            Refused: what `make` refuses, 406 and 503.
            WarehouseError: what the warehouse raises.
        """
        media_type = negotiated(request.headers.get("accept"))
        address = request.scope["path"]
        options = list(request.query_params.multi_items())
        with ExitStack() as stack:
            snapshot = stack.enter_context(self.warehouse.lease())
            if snapshot.id != self._kept_of:
                # Nobody will ask for answers of the one before.
                self.cache.clear()
                self._kept_of = snapshot.id
            key = (snapshot.id, volatile, address, media_type, tuple(sorted(question.items())))
            etag = _etag(key)
            if revalidates and _holds(request.headers.get("if-none-match"), etag):
                self._metrics.cached("revalidated")
                return Response(status_code=304, headers=_validity(etag))

            def make_body() -> Awaitable[Body]:
                # The snapshot stays while the body is made, whoever stops waiting for it.
                held = stack.pop_all()

                async def made() -> Body:
                    with held:
                        return await self.run(
                            lambda: _written(
                                make(self._question(snapshot)), media_type, etag, address, options
                            )
                        )

                return made()

            body = self.cache.get(key)
            self._metrics.cached("miss" if body is None else "hit")
            if body is None:
                body = await self.cache.get_or_make(key, make_body)
        return _response(request, body, revalidates=revalidates)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Result of `work` in one of the threads.

        Raises:
            Refused: 503, too many wait already.
        """
        if self._inside >= self._most:
            raise Refused("busy", "too many questions are waiting; try again in a second")
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._inside -= 1

    def facts(self, snapshot: Snapshot) -> Facts:
        """What is known of a snapshot; asked once. Runs in a thread.

        Raises:
            Refused: 503, it holds no readings.
            WarehouseError: it does not answer.
        """
        with self._facts_turn:
            found = self._facts.get(snapshot.id)
            if found is None:
                found = self._asked(snapshot)
                # While one snapshot follows another, both are asked.
                self._facts = {**dict(list(self._facts.items())[-1:]), snapshot.id: found}
            return found

    def _asked(self, snapshot: Snapshot) -> Facts:
        row = next(iter(snapshot.query(NEWEST, {}, self._timeout_s)), None)
        if row is None or row["newest_event_ts"] is None:
            raise Refused(
                "warehouse-empty",
                "the warehouse holds no readings yet; publish some (`ami simulate`) and wait for "
                "the next build, or run `ami build`",
            )
        names = snapshot.query(POLE_NAMES, {}, self._timeout_s)
        return Facts(
            row["oldest_event_ts"],
            row["newest_event_ts"],
            frozenset(each["pole_id"] for each in names),
        )

    def _question(self, snapshot: Snapshot) -> Question:
        deadline = time.monotonic() + self._timeout_s
        return Question(
            snapshot,
            self.facts(snapshot),
            deadline,
            self._timeout_s,
            self._metrics,
            self._helpers,
        )


def negotiated(accept: str | None) -> str:
    """The form a client likes best, JSON where it likes both as well.

    Raises:
        Refused: 406, it takes neither.
    """
    if not accept:
        return JSON
    liked = {JSON: -1.0, CSV: -1.0}
    closeness = {JSON: -1, CSV: -1}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = _quality(parameters)
        for media_type in liked:
            close = _closeness(name, media_type)
            # The closest range says how much a form is liked.
            if close > closeness[media_type]:
                liked[media_type], closeness[media_type] = quality, close
    best = JSON if liked[JSON] >= liked[CSV] else CSV
    if liked[best] <= 0:
        raise Refused("not-acceptable", f"there are {JSON} and {CSV}; the header Accept takes none")
    return best


def _closeness(name: str, media_type: str) -> int:
    ranges = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    return ranges.index(name) if name in ranges else -1


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _etag(key: Hashable) -> str:
    # Weak: it names what is said, gzipped or not.
    return f'W/"{hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()}"'


def _holds(if_none_match: str | None, etag: str) -> bool:
    if not if_none_match:
        return False
    opaque = etag.removeprefix("W/")
    return any(tag.strip().removeprefix("W/") == opaque for tag in if_none_match.split(","))


def _validity(etag: str) -> dict[str, str]:
    return {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Accept-Encoding, Authorization, X-API-Key",
    }


def _response(request: Request, body: Body, *, revalidates: bool) -> Response:
    headers = _validity(body.etag) if revalidates else {"Cache-Control": "no-store"}
    if body.link:
        headers["Link"] = body.link
    content = body.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        gzipped = body.gzipped()
        if gzipped is not None:
            content = gzipped
            headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=body.media_type)


def _written(
    made: Made, media_type: str, etag: str, address: str, options: list[tuple[str, str]]
) -> Body:
    link = ""
    if isinstance(made.answer, Page) and made.answer.next_cursor:
        others = [(name, value) for name, value in options if name != "cursor"]
        query = urlencode([*others, ("cursor", made.answer.next_cursor)])
        link = f'<{quote(address)}?{query}>; rel="next"'
    plain = (
        csv_bytes(made)
        if media_type == CSV
        else made.answer.__pydantic_serializer__.to_json(made.answer)
    )
    return Body(plain, media_type, etag, link)


def csv_bytes(made: Made) -> bytes:
    """The rows of an answer as CSV with a header; lists joined by semicolons."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table_columns(made.item))
    rows = [made.answer] if made.items is None else made.items
    writer.writerows([_cell(value) for value in table_row(row)] for row in rows)
    return out.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, list):
        return ";".join(str(_cell(item)) for item in value)
    return value
