"""Pull source: reads a Pub/Sub subscription through Google's client, gives messages to handle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, timedelta
from functools import partial
from typing import Final, NamedTuple, Protocol

import grpc
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from ami_contract.errors import TransportError
from beam_jobs.elements import Message

ACK_DEADLINE_S: Final = 60
_ACKS_PER_REQUEST: Final = 1000
# What waits on a laptop that is switched off for weeks must not expire.
_LONGEST_RETENTION: Final = timedelta(days=31)
_UNLIMITED: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class Received(NamedTuple):
    """A leased message: `ack_id` settles it."""

    ack_id: str
    message: Message


class Source(Protocol):
    """Where the ingest takes messages from."""

    def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
        """Messages now at hand, waiting up to `timeout_s` for the first."""

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Settle messages; they are never delivered again."""

    def extend(self, ack_ids: Sequence[str]) -> None:
        """Keep messages that are still being worked on from being delivered again."""

    def release(self, ack_ids: Sequence[str]) -> None:
        """Give messages back at once, for another delivery."""


class PubSubSource:
    """A subscription of Google Pub/Sub or of an emulator.

    Args:
        project_id: project of topic and subscription.
        topic: used to make the subscription when it is absent on an emulator.
        subscription: name of the subscription.
        emulator_host: host:port, None for Google's own service.
    """

    def __init__(
        self, project_id: str, topic: str, subscription: str, emulator_host: str | None
    ) -> None:
        self._path = f"projects/{project_id}/subscriptions/{subscription}"
        self._topic = f"projects/{project_id}/topics/{topic}"
        self._host = emulator_host or "Google Pub/Sub"
        if emulator_host:
            # The client's own emulator channel refuses answers above 4 MB.
            channel = grpc.insecure_channel(emulator_host, options=_UNLIMITED)
            self._client = pubsub_v1.SubscriberClient(
                transport=SubscriberGrpcTransport(channel=channel)
            )
            self._publisher = pubsub_v1.PublisherClient(
                transport=PublisherGrpcTransport(channel=channel)
            )
        else:
            self._client = pubsub_v1.SubscriberClient()
            self._publisher = None

    def ensure(self, timeout_s: float = 10.0) -> None:
        """Make topic and subscription on an emulator; on Google Cloud Terraform makes them.

        Args:
            timeout_s: how long an emulator that is just starting is waited for.

        Raises:
            TransportError: nobody answers at the address.
        """
        if self._publisher is None:
            return
        # The client's own policy goes on for ten minutes.
        patience = Retry(
            predicate=if_exception_type(exceptions.ServiceUnavailable),
            initial=0.2,
            maximum=1.0,
            timeout=timeout_s,
        )
        subscription = {
            "name": self._path,
            "topic": self._topic,
            "ack_deadline_seconds": ACK_DEADLINE_S,
            "message_retention_duration": _LONGEST_RETENTION,
        }
        try:
            with suppress(exceptions.AlreadyExists):
                self._publisher.create_topic(
                    request={"name": self._topic}, retry=patience, timeout=timeout_s
                )
            with suppress(exceptions.AlreadyExists):
                self._client.create_subscription(
                    request=subscription, retry=patience, timeout=timeout_s
                )
        except (
            exceptions.ServiceUnavailable,
            exceptions.DeadlineExceeded,
            exceptions.RetryError,
        ) as error:
            raise TransportError(
                f"no Pub/Sub answers at {self._host}; start it with `ami pubsub`"
            ) from error

    def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
        """Messages now at hand, waiting up to `timeout_s`; empty when there are none.

        Raises:
            TransportError: the service is away or the subscription does not exist.
        """
        request = {"subscription": self._path, "max_messages": max_messages}
        try:
            response = self._client.pull(request=request, timeout=timeout_s, retry=None)
        except exceptions.DeadlineExceeded:
            return []
        except exceptions.GoogleAPICallError as error:
            raise TransportError(f"cannot pull {self._path} from {self._host}: {error}") from error
        raw = type(response).pb(response)
        return [
            Received(
                received.ack_id,
                Message(
                    received.message.message_id,
                    received.message.publish_time.ToDatetime(tzinfo=UTC),
                    dict(received.message.attributes),
                    received.message.data,
                ),
            )
            for received in raw.received_messages
        ]

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Settle messages; raises TransportError when the service does not take it."""
        for chunk in _chunks(ack_ids):
            request = {"subscription": self._path, "ack_ids": chunk}
            self._settle(partial(self._client.acknowledge, request=request, timeout=30))

    def extend(self, ack_ids: Sequence[str]) -> None:
        """Lease messages for another deadline from now; raises TransportError."""
        self._modify_deadline(ack_ids, ACK_DEADLINE_S)

    def release(self, ack_ids: Sequence[str]) -> None:
        """Give messages back at once; raises TransportError."""
        self._modify_deadline(ack_ids, 0)

    def _modify_deadline(self, ack_ids: Sequence[str], seconds: int) -> None:
        for chunk in _chunks(ack_ids):
            request = {
                "subscription": self._path,
                "ack_ids": chunk,
                "ack_deadline_seconds": seconds,
            }
            self._settle(partial(self._client.modify_ack_deadline, request=request, timeout=30))

    def _settle(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise TransportError(f"cannot settle messages at {self._host}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _chunks(ack_ids: Sequence[str]) -> list[list[str]]:
    return [
        list(ack_ids[i : i + _ACKS_PER_REQUEST]) for i in range(0, len(ack_ids), _ACKS_PER_REQUEST)
    ]
