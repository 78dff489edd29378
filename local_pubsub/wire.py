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
    # Messages of one publish share their time.
    time_us, time_field = -1, b""
    for delivery in deliveries:
        stored = delivery.stored
        payload = stored.payload
        if stored.publish_time_us != time_us:
            time_us = stored.publish_time_us
            time_field = _publish_time(time_us)
        message_id = str(delivery.message_id).encode()
        ack_id = delivery.ack_id.encode()
        given = _MESSAGE_ID + varint(len(message_id)) + message_id + time_field
        head = b"".join(
            (_ACK_ID, varint(len(ack_id)), ack_id, _MESSAGE, varint(len(payload) + len(given)))
        )
        if delivery.delivery_attempt:
            given += _DELIVERY_ATTEMPT + varint(delivery.delivery_attempt)
        length = varint(len(head) + len(payload) + len(given))
        chunks += (_RECEIVED_MESSAGES, length, head, payload, given)
    return b"".join(chunks)


def _publish_time(publish_time_us: int) -> bytes:
    seconds, microseconds = divmod(publish_time_us, 1_000_000)
    # Nanoseconds are written even when 0: a client's own value would show through otherwise.
    time = _SECONDS + varint(seconds) + _NANOS + varint(microseconds * 1000)
    return _PUBLISH_TIME + varint(len(time)) + time
