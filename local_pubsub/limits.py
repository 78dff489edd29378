"""Reads publish and subscription requests; gives nothing, or refuses what Pub/Sub would refuse.

Source: https://cloud.google.com/pubsub/quotas#resource_limits and the comments of pubsub.proto.
Features of the service that this server does not offer are refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from local_pubsub.errors import InvalidArgument, Unsupported

MAX_PUBLISH_MESSAGES = 1000
MAX_PUBLISH_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024
MIN_ACK_DEADLINE_S = 10
MAX_ACK_DEADLINE_S = 600
DEFAULT_ACK_DEADLINE_S = 10
MIN_RETENTION_S = 10 * 60
MAX_RETENTION_S = 31 * 24 * 3600
MAX_BACKOFF_S = 600
MIN_DELIVERY_ATTEMPTS = 5
MAX_DELIVERY_ATTEMPTS = 100
DEFAULT_DELIVERY_ATTEMPTS = 5
MAX_PAGE_SIZE = 1000

TOPIC_FIELDS = frozenset({"name", "labels"})
TOPIC_OUTPUT_FIELDS = frozenset({"satisfies_pzs", "state"})
SUBSCRIPTION_FIELDS = frozenset(
    {
        "name",
        "topic",
        "ack_deadline_seconds",
        "labels",
        "dead_letter_policy",
        "retry_policy",
        "message_retention_duration",
        "retain_acked_messages",
        "detached",
    }
)
SUBSCRIPTION_OUTPUT_FIELDS = frozenset(
    {"analytics_hub_subscription_info", "state", "topic_message_retention_duration"}
)


def refuse_unsupported(resource: Any, supported: frozenset[str], output: frozenset[str]) -> None:
    """Raise Unsupported naming each field of `resource` that asks for a missing feature.

    A present but empty `push_config` means pull, an `expiration_policy` without a time to live
    means never: both are what this server does. Fields only the service fills are passed over.
    """
    asked = [
        descriptor.name
        for descriptor, value in resource.ListFields()
        if descriptor.name not in supported | output and not _means_default(descriptor.name, value)
    ]
    if asked:
        raise Unsupported(
            f"{', '.join(asked)}: not supported by the local Pub/Sub server "
            f"(resource={resource.name}). Leave it out, or use Google's Pub/Sub."
        )


def _means_default(field_name: str, value: Any) -> bool:
    if field_name in {"push_config", "expiration_policy"}:
        return value.ByteSize() == 0
    return False


def check_publish(request: Any) -> None:
    """Raise InvalidArgument when a PublishRequest breaks a limit of Pub/Sub."""
    messages = request.messages
    if not messages:
        raise InvalidArgument("The request contains no messages: publish at least one.")
    if len(messages) > MAX_PUBLISH_MESSAGES:
        raise InvalidArgument(
            f"The request contains {len(messages)} messages, more than {MAX_PUBLISH_MESSAGES}."
        )
    size = request.ByteSize()
    if size > MAX_PUBLISH_BYTES:
        raise InvalidArgument(
            f"The request is {size} bytes long, more than {MAX_PUBLISH_BYTES}: "
            "publish fewer or smaller messages at a time."
        )
    for index, message in enumerate(messages):
        _check_message(index, message)


def _check_message(index: int, message: Any) -> None:
    attributes = message.attributes
    if not message.data and not attributes:
        raise InvalidArgument(
            f"Message {index} is empty: a message needs data or at least one attribute."
        )
    if len(message.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise InvalidArgument(
            f"Message {index}: the ordering key is longer than {MAX_ORDERING_KEY_BYTES} bytes."
        )
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidArgument(
            f"Message {index} has {len(attributes)} attributes, more than {MAX_ATTRIBUTES}."
        )
    for key, value in attributes.items():
        if not key or len(key.encode()) > MAX_ATTRIBUTE_KEY_BYTES or key.startswith("goog"):
            raise InvalidArgument(
                f"Message {index}: attribute key '{key[:80]}' must have 1 to "
                f"{MAX_ATTRIBUTE_KEY_BYTES} bytes and not start with 'goog'."
            )
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise InvalidArgument(
                f"Message {index}: the value of attribute '{key}' is longer than "
                f"{MAX_ATTRIBUTE_VALUE_BYTES} bytes."
            )


def check_ack_deadline(seconds: int) -> int:
    """Return a subscription's or stream's ack deadline [s]; raise InvalidArgument."""
    if not MIN_ACK_DEADLINE_S <= seconds <= MAX_ACK_DEADLINE_S:
        raise InvalidArgument(
            f"Invalid ack deadline given (ack_deadline_secs={seconds}): "
            f"it must be {MIN_ACK_DEADLINE_S} to {MAX_ACK_DEADLINE_S} s."
        )
    return seconds


def check_ack_extensions(seconds: Sequence[int]) -> None:
    """Raise InvalidArgument unless all new deadlines [s] are 0 (hand back) to 600."""
    for value in seconds:
        if not 0 <= value <= MAX_ACK_DEADLINE_S:
            raise InvalidArgument(
                f"Invalid ack deadline given (ack_deadline_secs={value}): "
                f"it must be 0 to {MAX_ACK_DEADLINE_S} s."
            )


def check_retention(seconds: float) -> None:
    """Raise InvalidArgument unless a message retention [s] is 10 minutes to 31 days."""
    if not MIN_RETENTION_S <= seconds <= MAX_RETENTION_S:
        raise InvalidArgument(
            f"Invalid message_retention_duration given ({seconds:g} s): "
            f"it must be {MIN_RETENTION_S} to {MAX_RETENTION_S} s."
        )


def check_backoff(minimum_s: float, maximum_s: float) -> None:
    """Raise InvalidArgument unless 0 <= minimum <= maximum <= 600 s."""
    if not 0 <= minimum_s <= maximum_s <= MAX_BACKOFF_S:
        raise InvalidArgument(
            f"Invalid retry_policy given (minimum_backoff={minimum_s:g} s, "
            f"maximum_backoff={maximum_s:g} s): both must be 0 to {MAX_BACKOFF_S} s and the "
            "minimum must not be above the maximum."
        )


def check_delivery_attempts(attempts: int) -> int:
    """Return a dead-letter policy's maximum of delivery attempts; raise InvalidArgument."""
    if not MIN_DELIVERY_ATTEMPTS <= attempts <= MAX_DELIVERY_ATTEMPTS:
        raise InvalidArgument(
            f"Invalid max_delivery_attempts given ({attempts}): "
            f"it must be {MIN_DELIVERY_ATTEMPTS} to {MAX_DELIVERY_ATTEMPTS}."
        )
    return attempts
