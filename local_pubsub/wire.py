"""Reads leased messages; gives the bytes of a PullResponse or StreamingPullResponse.

Both hold `repeated ReceivedMessage received_messages = 1`. A stored payload is a serialised
PubsubMessage already, and protobuf's wire format lets fields be appended to it: so a response is
put together by one join, where parsing and serialising again would copy each payload three times.
Source: https://protobuf.dev/programming-guides/encoding and pubsub.proto (field numbers).
"""

from __future__ import annotations

from collections.abc import Iterable

from local_pubsub.broker import DeliveredMessage

_RECEIVED_MESSAGES = b"\x0a"
_ACK_ID = b"\x0a"
_MESSAGE = b"\x12"
_DELIVERY_ATTEMPT = b"\x18"
_MESSAGE_ID = b"\x1a"
_PUBLISH_TIME = b"\x22"
_SECONDS = b"\x08"
_NANOS = b"\x10"
_ONE_BYTE = [bytes((value,)) for value in range(128)]


def varint(value: int) -> bytes:
    """Return a non-negative integer in protobuf's base-128 encoding."""
    if value < 128:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def pull_response(deliveries: Iterable[DeliveredMessage]) -> bytes:
    """Return the serialised response that carries `deliveries`.

    Message id and publish time come after the stored fields and so overrule what a client set.
    """
    chunks: list[bytes] = []
    for delivery in deliveries:
        payload = delivery.stored.payload
        given = _given_fields(delivery.message_id, delivery.stored.publish_time_us)
        ack_id = delivery.ack_id.encode()
        head = b"".join(
            (
                _ACK_ID,
                varint(len(ack_id)),
                ack_id,
                _MESSAGE,
                varint(len(payload) + len(given)),
            )
        )
        tail = (
            given + _DELIVERY_ATTEMPT + varint(delivery.delivery_attempt)
            if delivery.delivery_attempt
            else given
        )
        chunks += (
            _RECEIVED_MESSAGES,
            varint(len(head) + len(payload) + len(tail)),
            head,
            payload,
            tail,
        )
    return b"".join(chunks)


def _given_fields(message_id: int, publish_time_us: int) -> bytes:
    text = str(message_id).encode()
    seconds, microseconds = divmod(publish_time_us, 1_000_000)
    # Nanoseconds are written even when 0: a client's own value would show through otherwise.
    time = _SECONDS + varint(seconds) + _NANOS + varint(microseconds * 1000)
    return b"".join((_MESSAGE_ID, varint(len(text)), text, _PUBLISH_TIME, varint(len(time)), time))
