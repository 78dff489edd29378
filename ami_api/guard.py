"""Every request passes here: reads its head, gives it on, or a problem, and counts and logs it.

Pure ASGI, because a layer of Starlette's `BaseHTTPMiddleware` costs more than an answer from
memory.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ami_api.identity import Doorkeeper
from ami_api.metrics import Metrics
from ami_api.problems import Refused

log = logging.getLogger("ami.api")
access = logging.getLogger("ami.api.access")

# Probes of load balancers carry no key.
OPEN_PATHS: Final = frozenset({"/health", "/ready"})
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MOST_CLIENTS: Final = 10_000


class Buckets:
    """A token bucket per client: `per_s` requests a second, and a second's worth at once.

    Args:
        per_s: requests per second; 0: without limit.
        clock: seconds that only go forward.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._most = max(per_s, 1.0)
        self._clock = clock
        # Tokens left, and when that was counted; the client heard of last stands last.
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """0 when the client may come in, else how long until it may. [s]"""
        if not self._per_s:
            return 0.0
        now_s = self._clock()
        left, counted_s = self._clients.pop(client, (self._most, now_s))
        left = min(self._most, left + (now_s - counted_s) * self._per_s)
        may = left >= 1.0
        self._clients[client] = (left - 1.0 if may else left, now_s)
        while len(self._clients) > _MOST_CLIENTS:
            self._clients.popitem(last=False)
        return 0.0 if may else (1.0 - left) / self._per_s


class Guard:
    """Identity, rate, size of the body, security headers, access log and metrics.

    Args:
        app: what answers.
        doorkeeper: who may come in.
        buckets: how often.
        metrics: counts requests.
        most_body_bytes: longest body.
        logs: whether each request is logged.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        doorkeeper: Doorkeeper,
        buckets: Buckets,
        metrics: Metrics,
        most_body_bytes: int,
        logs: bool,
    ) -> None:
        self._app = app
        self._doorkeeper = doorkeeper
        self._buckets = buckets
        self._metrics = metrics
        self._most_body_bytes = most_body_bytes
        self._logs = logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan of the process."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin_s = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        client = _address(scope)
        try:
            try:
                client = await self._admitted(scope, client)
                await self._app(scope, self._bounded(receive), send_on)
            except Refused as refused:
                if status:
                    raise
                await refused.response()(scope, receive, send_on)
        except Exception:
            log.exception("%s %r failed", scope["method"], scope["path"])
            if status:
                # Half an answer is out: the client must not take it for a whole one.
                raise
            failed = Refused("internal", "the server failed; its log tells why")
            await failed.response()(scope, receive, send_on)
        finally:
            seconds = time.perf_counter() - begin_s
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(route, _method(scope["method"]), status, seconds)
            if self._logs:
                access.info(
                    "%s %s %r %d %.1f ms",
                    client,
                    _method(scope["method"]),
                    scope["path"],
                    status,
                    seconds * 1000,
                )

    async def _admitted(self, scope: Scope, address: str) -> str:
        """Who comes in; raises Refused."""
        headers = Headers(scope=scope)
        client: str | None = address
        if not self._doorkeeper.is_open and scope["path"] not in OPEN_PATHS:
            client = self._doorkeeper.known(headers)
        # Before a token is verified: strangers must not make the server fetch and compute.
        wait_s = self._buckets.wait_s(client or address)
        if wait_s:
            raise Refused(
                "too-many-requests",
                f"too many requests; try again in {wait_s:.2f} s",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )
        if client is None and self._doorkeeper.may_be_token(headers):
            client = await run_in_threadpool(self._doorkeeper.verified, headers)
        if client is None:
            raise Refused(
                "not-authenticated",
                "send a key of AMI_API_KEYS as X-API-Key, or an identity token that Google signed "
                "for the API as Authorization: Bearer",
                headers={"WWW-Authenticate": 'Bearer realm="ami"'},
            )
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._most_body_bytes:
            raise Refused("body-too-large", self._too_large())
        return client

    def _bounded(self, receive: Receive) -> Receive:
        """`receive` that stops a body without declared length that grows too long."""
        got = 0

        async def bounded() -> Message:
            nonlocal got
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > self._most_body_bytes:
                    # Of what `receive` raises, FastAPI lets only this pass as it is.
                    raise HTTPException(413, self._too_large())
            return message

        return bounded

    def _too_large(self) -> str:
        return f"a body may have {self._most_body_bytes} bytes"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _method(method: str) -> str:
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
    return method if method in known else "other"
