"""Reads a data directory, host and port; gives a running Pub/Sub server on the loopback device.

Point Google's client libraries at it through PUBSUB_EMULATOR_HOST.
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType

import grpc

from ami_contract.errors import TransportError
from local_pubsub.broker import Broker, BrokerCounters
from local_pubsub.directory_lock import DirectoryLock
from local_pubsub.service import PubSubService, ServiceRouter

logger = logging.getLogger(__name__)

LOOPBACK_HOSTS = ("127.0.0.1", "::1")
DEFAULT_PORT = 8085
STOP_GRACE_S = 2.0
TELL_EVERY_S = 2.0

_MAX_WAITING = 256
_OTHER_WORKERS = 16
# Above Pub/Sub's limit of 10 MB, so that a request beyond it gets Pub/Sub's own answer.
_MAX_REQUEST_BYTES = 32 * 1024 * 1024


class PubSubServer:
    """A Pub/Sub server on one directory; also a context manager that starts and stops it."""

    def __init__(
        self, directory: Path, port: int = DEFAULT_PORT, host: str = LOOPBACK_HOSTS[0]
    ) -> None:
        """Prepare a server on `directory` (made if missing); port 0 picks a free one.

        Raises TransportError for a host that is not the loopback device.
        """
        if host not in LOOPBACK_HOSTS:
            raise TransportError(
                f"host {host} is refused: the local Pub/Sub server has no access control and "
                f"listens on {' or '.join(LOOPBACK_HOSTS)} only"
            )
        self._directory = directory
        self._host = host
        self._port = port
        self._lock: DirectoryLock | None = None
        self._broker: Broker | None = None
        self._grpc_server: grpc.Server | None = None

    @property
    def endpoint(self) -> str:
        """The value for PUBSUB_EMULATOR_HOST; the port is final once started."""
        return _address(self._host, self._port)

    def start(self) -> int:
        """Start to serve and return the port.

        Raises TransportError when another server has the directory, the port is taken, or the
        directory or journal cannot be used.
        """
        if self._grpc_server is not None:
            raise TransportError(f"the Pub/Sub server on {self._directory} is already started")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = DirectoryLock(self._directory)
            self._broker = Broker(self._directory)
            server, self._port = _listening_server(self._broker, self._host, self._port)
        except (OSError, sqlite3.Error) as error:
            self._close()
            raise TransportError(
                f"the Pub/Sub directory {self._directory} cannot be used ({error}): "
                "check its permissions and free space, or choose another directory"
            ) from error
        except TransportError:
            self._close()
            raise
        self._grpc_server = server
        server.start()
        logger.info("Pub/Sub on %s serves %s", self.endpoint, self._directory)
        return self._port

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Answer what is running, for at most `grace_s`, then write everything and close.

        Open streams and waiting pulls end with UNAVAILABLE, on which clients reconnect.
        """
        if self._broker is not None:
            self._broker.stop_delivery()
        if self._grpc_server is not None:
            self._grpc_server.stop(grace_s).wait()
        self._close()

    def _close(self) -> None:
        self._grpc_server = None
        if self._broker is not None:
            self._broker.close()
            self._broker = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def counters(self) -> BrokerCounters:
        """Return totals since the start and the state of each subscription.

        Raises TransportError when the server is not running.
        """
        if self._broker is None:
            raise TransportError("the Pub/Sub server is not running: start it first")
        return self._broker.counters()

    def __enter__(self) -> PubSubServer:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def serve_forever(
    directory: Path,
    port: int,
    on_ready: Callable[[str], None],
    *,
    tell: Callable[[BrokerCounters], None] = lambda counters: None,
    tell_every_s: float = TELL_EVERY_S,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish, flush and return.

    `on_ready` gets the endpoint (host:port) once the server answers, `tell` the counters at once
    and at every interval. Must be called from the main thread. Raises TransportError like
    `PubSubServer.start`.
    """
    stop_asked = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop_asked.set()

    previous = {
        number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        with PubSubServer(directory, port) as server:
            on_ready(server.endpoint)
            _tell_counters(server, tell)
            while not stop_asked.wait(tell_every_s):
                _tell_counters(server, tell)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _tell_counters(server: PubSubServer, tell: Callable[[BrokerCounters], None]) -> None:
    try:
        tell(server.counters())
    except sqlite3.Error as error:
        logger.warning("the journal does not tell what waits, to be asked again: %s", error)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listening_server(broker: Broker, host: str, port: int) -> tuple[grpc.Server, int]:
    server = grpc.server(
        ThreadPoolExecutor(_MAX_WAITING + _OTHER_WORKERS, thread_name_prefix="pubsub"),
        handlers=[ServiceRouter(PubSubService(broker, _MAX_WAITING))],
        options=[
            # Without this a second server shares the port and takes half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", -1),
        ],
    )
    try:
        bound = server.add_insecure_port(_address(host, port))
    except RuntimeError as error:
        raise TransportError(_why_not_bound(host, port)) from error
    return server, bound


def _why_not_bound(host: str, port: int) -> str:
    """Say why listening failed and what to do; gRPC's own error does not tell."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = "is in use"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                reason = f"cannot be used ({error.strerror})"
        except OverflowError:
            reason = "does not exist (0 to 65535)"
    return f"port {port} {reason}: choose another with --port or stop the other server"
