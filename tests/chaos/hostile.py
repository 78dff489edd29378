"""Reads a port; attacks what listens there as somebody on the same machine could.

Every attack takes a few seconds and leaves all its connections closed. None of them needs to be
answered; afterwards whoever keeps to the protocol must be.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

Attack = Callable[[random.Random, int], None]

_CONNECT_S: Final = 5.0
_CROWD: Final = 150
_DRIPS: Final = 20
_DRIP_S: Final = 0.1
_HUGE: Final = 1_000_000
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _HEADERS, _RESET, _PING, _CONTINUATION = 4, 1, 3, 6, 9


def garbage(rng: random.Random, port: int) -> None:
    """Random bytes, on several connections."""
    for _ in range(10):
        _send(port, rng.randbytes(rng.randint(1, 100_000)))


def half_open(_rng: random.Random, port: int) -> None:
    """A crowd that connects and says nothing."""
    with ExitStack() as crowd:
        for _ in range(_CROWD):
            with suppress(OSError):
                crowd.enter_context(_connect(port))
        time.sleep(_DRIPS * _DRIP_S)


def slow_loris(_rng: random.Random, port: int) -> None:
    """A crowd whose requests come letter by letter and have no end."""
    with ExitStack() as crowd:
        lines = []
        for _ in range(_CROWD // 3):
            with suppress(OSError):
                lines.append(crowd.enter_context(_connect(port)))
        for letter in b"GET / HTTP/1.1\r\nX-a: b\r\n"[:_DRIPS]:
            for line in lines:
                with suppress(OSError):
                    line.sendall(bytes([letter]))
            time.sleep(_DRIP_S)


def huge_headers(rng: random.Random, port: int) -> None:
    """Headers of a megabyte, in one line and in many."""
    _send(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Huge: " + b"a" * _HUGE + b"\r\n\r\n")
    many = b"".join(b"X-%d: %d\r\n" % (n, rng.getrandbits(60)) for n in range(30_000))
    _send(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")
    _send(port, b"GET /" + b"a" * _HUGE + b" HTTP/1.1\r\nHost: x\r\n\r\n")


def smuggling(rng: random.Random, port: int) -> None:
    """Requests whose length is told in contradictory or impossible ways."""
    for head in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000,
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + rng.randbytes(4000),
    ):
        _send(port, b"POST /dr/compute HTTP/1.1\r\nHost: x\r\n" + head)


def injections(_rng: random.Random, port: int) -> None:
    """Addresses that would leave the folder or the statement of a careless server."""
    for path in (
        b"/../../../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/poles/..%2f..%2fetc%2fpasswd/summary",
        b"/poles/x'%20OR%201=1;--/summary",
        b"/poles/%00/summary",
        b"/anomalies?start=';DROP%20TABLE%20voltage_events;--",
        b"/" + b"%ff" * 2000,
    ):
        _send(port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def broken_frames(rng: random.Random, port: int) -> None:
    """HTTP/2 up to its frames, which are of random kinds, lengths and contents."""
    for _ in range(10):
        frames = [_frame(_SETTINGS, b"")]
        for _ in range(50):
            claimed = rng.choice([None, rng.getrandbits(24)])
            body = rng.randbytes(rng.randint(0, 300))
            frames.append(
                _frame(rng.randrange(12), body, rng.getrandbits(8), rng.getrandbits(31), claimed)
            )
        _send(port, _PREFACE + b"".join(frames))


def rapid_resets(_rng: random.Random, port: int) -> None:
    """Streams that are opened and given up at once, by the thousand."""
    cancelled = struct.pack(">I", 8)
    frames = [_frame(_SETTINGS, b"")]
    for stream in range(1, 10_001, 2):
        frames.append(_frame(_HEADERS, b"\x83\x86\x84\x41\x01x", 0x4, stream))
        frames.append(_frame(_RESET, cancelled, 0, stream))
    _send(port, _PREFACE + b"".join(frames))


def endless_headers(rng: random.Random, port: int) -> None:
    """Headers of HTTP/2 that are continued for ever; pings between."""
    frames = [_frame(_SETTINGS, b""), _frame(_HEADERS, b"\x83\x86\x84", 0, 1)]
    frames += [_frame(_CONTINUATION, b"\x00\x01x\x7f\x80\x7d" + b"a" * 250, 0, 1)] * 2000
    _send(port, _PREFACE + b"".join(frames))
    pings = [_frame(_PING, rng.randbytes(8)) for _ in range(20_000)]
    _send(port, _PREFACE + _frame(_SETTINGS, b"") + b"".join(pings))


GRPC_ATTACKS: Final[tuple[Attack, ...]] = (
    garbage,
    half_open,
    slow_loris,
    huge_headers,
    broken_frames,
    rapid_resets,
    endless_headers,
)
HTTP_ATTACKS: Final[tuple[Attack, ...]] = (
    garbage,
    half_open,
    slow_loris,
    huge_headers,
    smuggling,
    injections,
    broken_frames,
)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S)


def _send(port: int, content: bytes) -> None:
    """Send and look at the beginning of the answer; whatever the other side does with it."""
    with suppress(OSError), _connect(port) as connection:
        connection.settimeout(1.0)
        connection.sendall(content)
        connection.recv(4096)


def _frame(
    kind: int, body: bytes, flags: int = 0, stream: int = 0, claimed: int | None = None
) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1); `claimed` replaces its true length."""
    length = len(body) if claimed is None else claimed
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + body
