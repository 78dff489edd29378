"""Reads a port of Pub/Sub; gives gateways an address that can be cut off while they use it."""

from __future__ import annotations

import selectors
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

Cut = Literal["reset", "silence", "link down"]

_NEAR: Final = "10.231.0.1"
_FAR: Final = "10.231.0.2"
_LINK: Final = "chaos0"
_CHUNK: Final = 256 * 1024
_LOOK_S: Final = 0.1


class Relay:
    """A TCP relay to a loopback port.

    Args:
        host: address it listens on.
        port: loopback port that it passes everything on to.

    Attributes:
        port: that it listens on.
        passed: bytes it has passed on, both ways.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((host, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.passed = 0
        self._open = threading.Event()
        self._open.set()
        self._refuses = False
        self._guard = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def reset(self) -> None:
        """End all connections at once and refuse new ones."""
        self._refuses = True
        with self._guard:
            for pair in self._pairs:
                for each in pair:
                    _reset(each)

    def silence(self) -> None:
        """Pass nothing on; connections stay as they are."""
        self._open.clear()

    def mend(self) -> None:
        """Pass everything on again."""
        self._refuses = False
        self._open.set()

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._listener.close()
        self.mend()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                _reset(near)
                near.close()
                continue
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            self._open.wait()
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                _reset(near)
                return
            far.settimeout(None)
            pair = (near, far)
            with self._guard:
                self._pairs.add(pair)
            try:
                with far, suppress(OSError):
                    self._pump(near, far)
            finally:
                with self._guard:
                    self._pairs.discard(pair)

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in ready.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    content = source.recv(_CHUNK)
                    self._open.wait()
                    if not content:
                        return
                    self.passed += len(content)
                    key.data.sendall(content)


def _reset(connection: socket.socket) -> None:
    """End a connection without a word of farewell; both its threads notice."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


class Network:
    """The way from the gateways to Pub/Sub.

    Args:
        port: of Pub/Sub on loopback.
        is_linked: whether gateways live in a network namespace of their own, behind a link that
            can be taken down; else they go through a relay on loopback.
    """

    def __init__(self, port: int, *, is_linked: bool) -> None:
        self.is_linked = is_linked
        self._holder: subprocess.Popen[bytes] | None = None
        if is_linked:
            self._lay_link()
        self.relay = Relay(_NEAR if is_linked else "127.0.0.1", port)

    @property
    def address(self) -> str:
        """host:port under which gateways know Pub/Sub."""
        return f"{_NEAR if self.is_linked else '127.0.0.1'}:{self.relay.port}"

    @property
    def inside(self) -> tuple[str, ...]:
        """Command line in front of a gateway's command."""
        if self._holder is None:
            return ()
        return ("nsenter", "--target", str(self._holder.pid), "--net")

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Ways to cut it."""
        return ("reset", "silence", "link down") if self.is_linked else ("reset", "silence")

    def cut(self, how: Cut) -> None:
        """Let nothing through any more."""
        if how == "reset":
            self.relay.reset()
        elif how == "silence":
            self.relay.silence()
        else:
            _ip("link", "set", _LINK, "down")

    def mend(self, how: Cut) -> None:
        """Let everything through again."""
        if how == "link down":
            _ip("link", "set", _LINK, "up")
        else:
            self.relay.mend()

    def close(self) -> None:
        """Take it down."""
        self.relay.close()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()

    def _lay_link(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        pid = str(self._holder.pid)
        mine = _namespace("self")
        while _namespace(pid) == mine:
            time.sleep(_LOOK_S)
        _ip("link", "add", _LINK, "type", "veth", "peer", "name", _LINK, "netns", pid)
        _ip("address", "add", f"{_NEAR}/30", "dev", _LINK)
        _ip("link", "set", _LINK, "up")
        far = ("nsenter", "--target", pid, "--net", "ip")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{_FAR}/30", "dev", _LINK),
            ("link", "set", _LINK, "up"),
        ):
            subprocess.run([*far, *command], check=True)


def _namespace(pid: str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
