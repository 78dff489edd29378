"""Reads messages; gives them to Pub/Sub, to a stream of text or to a list.

`Publisher` is what a run needs; how often and how long to try again is the publisher's matter.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Protocol

import grpc
import orjson
from google.api_core import exceptions, retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1 import types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from ami_contract.errors import TransportError
from ami_contract.reading import Attribute, ContentType
from simulator.encode import decode_arrow
from simulator.gateway import Message

MAX_MESSAGE_BYTES: Final = 10_000_000
"""Pub/Sub's own limit for a request."""

TRANSIENT: Final = (
    exceptions.Aborted,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
    exceptions.Cancelled,
)


@dataclass(frozen=True)
class PublisherCounters:
    """What a publisher did so far.

    Attributes:
        messages, payload_bytes: accepted by the other side.
        retried: attempts that failed and were made again.
        failed: messages given up.
        spooled: reading copies that wait on disk.
        overflowed: reading copies dropped because the spool was full.
        lag_s: age of the oldest that waits, against the newest (s).
    """

    messages: int = 0
    payload_bytes: int = 0
    retried: int = 0
    failed: int = 0
    spooled: int = 0
    overflowed: int = 0
    lag_s: float = 0.0


class Publisher(Protocol):
    """Where a run's messages go."""

    def publish(self, message: Message) -> Future[None]:
        """Take `message`; may block while too much is under way. The future ends with its fate."""
        ...

    def flush(self) -> None:
        """Wait until everything taken has ended; raises TransportError if anything was given up."""
        ...

    def counters(self) -> PublisherCounters:
        """Counters so far."""
        ...


class PubSubPublisher:
    """Publishes with Google's client: batches, bounded exponential backoff with jitter.

    Args:
        project_id: Google Cloud project.
        topic: name of the topic within it.
        emulator_host: host:port of an emulator, where the topic is created when it is missing;
            None: Google's own service, where it must exist.
        batch_messages: messages that the client sends at once (100 to 500 serve well).
        batch_wait_s: longest time it waits for them (s).
        give_up_after_s: how long a message is tried again before it counts as failed (s).
        outstanding_messages, outstanding_bytes: `publish` blocks above these.

    Raises:
        TransportError: the service cannot be reached, or there is no such topic.
    """

    def __init__(
        self,
        project_id: str,
        topic: str,
        emulator_host: str | None = None,
        *,
        batch_messages: int = 200,
        batch_wait_s: float = 0.2,
        give_up_after_s: float = 600.0,
        outstanding_messages: int = 5_000,
        outstanding_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self._lock = threading.Lock()
        self._messages = self._bytes = self._retried = self._failed = 0
        self._first_error: BaseException | None = None
        self._pending: set[Future[Any]] = set()
        options: dict[str, Any] = {}
        self._channel: grpc.Channel | None = None
        if emulator_host:
            # A server that comes back is found within seconds, not after gRPC's two minutes.
            self._channel = grpc.insecure_channel(
                emulator_host, options=[("grpc.max_reconnect_backoff_ms", 2000)]
            )
            options["transport"] = PublisherGrpcTransport(
                channel=self._channel, credentials=AnonymousCredentials()
            )
        self._retry = retry.Retry(
            predicate=retry.if_exception_type(*TRANSIENT),
            initial=0.1,
            maximum=10.0,
            multiplier=2.0,
            timeout=give_up_after_s,
            on_error=self._count_retry,
        )
        self._client = pubsub_v1.PublisherClient(
            batch_settings=types.BatchSettings(
                max_messages=batch_messages, max_latency=batch_wait_s, max_bytes=2_000_000
            ),
            publisher_options=types.PublisherOptions(
                flow_control=types.PublishFlowControl(
                    message_limit=outstanding_messages,
                    byte_limit=outstanding_bytes,
                    limit_exceeded_behavior=types.LimitExceededBehavior.BLOCK,
                ),
                retry=self._retry,
                timeout=30.0,
            ),
            **options,
        )
        self._topic = f"projects/{project_id}/topics/{topic}"
        self._find_topic(emulator_host)

    def publish(self, message: Message) -> Future[None]:
        """Hand `message` to the client."""
        outcome: Future[None] = Future()
        if len(message.data) > MAX_MESSAGE_BYTES:
            outcome.set_exception(
                TransportError(
                    f"a message of {len(message.data)} bytes is more than Pub/Sub takes "
                    f"({MAX_MESSAGE_BYTES}); lower batch_max_readings"
                )
            )
            self._ended(message, outcome)
            return outcome
        sent = self._client.publish(self._topic, message.data, **message.attributes)
        with self._lock:
            self._pending.add(sent)

        def settle(done: Any) -> None:
            error = done.exception()
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)
            self._ended(message, outcome)
            with self._lock:
                self._pending.discard(done)

        sent.add_done_callback(settle)
        return outcome

    def flush(self) -> None:
        """Wait until every message has ended.

        Raises:
            TransportError: a message was given up; says how many and why the first one.
        """
        with self._lock:
            pending = list(self._pending)
        for sent in pending:
            sent.exception()
        with self._lock:
            failed, error = self._failed, self._first_error
        if error is not None:
            raise TransportError(
                f"{failed} messages could not be published to {self._topic}: {error}"
            ) from error

    def close(self) -> None:
        """Send what the client still holds and end its connection."""
        self._client.stop()
        if self._channel is not None:
            self._channel.close()

    def counters(self) -> PublisherCounters:
        """Counters so far."""
        with self._lock:
            return PublisherCounters(self._messages, self._bytes, self._retried, self._failed)

    def _find_topic(self, emulator_host: str | None) -> None:
        once = retry.Retry(
            predicate=retry.if_exception_type(exceptions.ServiceUnavailable), timeout=5.0
        )
        try:
            if emulator_host:
                self._client.create_topic(name=self._topic, timeout=5.0, retry=once)
            else:
                self._client.get_topic(topic=self._topic, timeout=10.0)
        except exceptions.AlreadyExists:
            return
        except exceptions.NotFound as error:
            raise TransportError(
                f"there is no topic {self._topic}; make it with: "
                f"gcloud pubsub topics create {self._topic}"
            ) from error
        except exceptions.PermissionDenied:
            # Publishing may be allowed where looking is not; the first publish will tell.
            return
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            where = emulator_host or "pubsub.googleapis.com"
            remedy = "start it (ami pubsub)" if emulator_host else "check the network"
            raise TransportError(
                f"Pub/Sub does not answer at {where}: {remedy} or set another address"
            ) from error

    def _count_retry(self, _error: Exception) -> None:
        with self._lock:
            self._retried += 1

    def _ended(self, message: Message, outcome: Future[None]) -> None:
        error = outcome.exception()
        with self._lock:
            if error is None:
                self._messages += 1
                self._bytes += len(message.data)
            else:
                self._failed += 1
                self._first_error = self._first_error or error


@dataclass
class CollectingPublisher:
    """Keeps every message in `messages`."""

    messages: list[Message] = field(default_factory=list)

    def publish(self, message: Message) -> Future[None]:
        """Keep `message`."""
        self.messages.append(message)
        return _done()

    def flush(self) -> None:
        """Nothing is under way here."""

    def counters(self) -> PublisherCounters:
        """Counters so far."""
        return PublisherCounters(len(self.messages), sum(len(m.data) for m in self.messages))


class StdoutPublisher:
    """Writes one JSON reading per line, in the order of arrival.

    Damaged readings are written as damaged as they are; Arrow payloads are shown as JSON.

    Args:
        stream: binary stream, such as `sys.stdout.buffer`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._messages = 0
        self._bytes = 0

    def publish(self, message: Message) -> Future[None]:
        """Write the readings of `message`."""
        for line in reading_lines(message):
            self._stream.write(line + b"\n")
        self._messages += 1
        self._bytes += len(message.data)
        return _done()

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def counters(self) -> PublisherCounters:
        """Counters so far."""
        return PublisherCounters(self._messages, self._bytes)


def reading_lines(message: Message) -> list[bytes]:
    """The readings of a message as JSON texts without line breaks."""
    kind = message.attributes[Attribute.CONTENT_TYPE.value]
    if kind == ContentType.ARROW:
        return [orjson.dumps(_json_row(row)) for row in decode_arrow(message.data).to_pylist()]
    if kind == ContentType.NDJSON:
        return message.data.split(b"\n")
    if message.data.startswith(b"["):
        return [orjson.dumps(row) for row in orjson.loads(message.data)]
    return [message.data]


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    text = row["event_ts"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = {**row, "event_ts": text}
    if not row["quality_flags"]:
        del row["quality_flags"]
    return row


def _done() -> Future[None]:
    outcome: Future[None] = Future()
    outcome.set_result(None)
    return outcome
