"""Whatever comes to its port, the server goes on answering those who keep to the protocol."""

from __future__ import annotations

import random
import re
from contextlib import suppress

import grpc
import psutil
import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types as pubsub

from tests.chaos.hostile import GRPC_ATTACKS, Attack

from .conftest import Lab

MEGABYTE = 1024 * 1024
MOST_GROWTH_MB = 150
MOST_DEPTH = 3
ALLOWED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # What gRPC itself says of bytes that are no such request.
    grpc.StatusCode.INTERNAL,
}


def rss_mb() -> float:
    return psutil.Process().memory_info().rss / MEGABYTE


@pytest.mark.parametrize("attack", GRPC_ATTACKS, ids=lambda attack: attack.__name__)
def test_the_server_survives_a_hostile_client(lab: Lab, attack: Attack) -> None:
    lab.create()
    lab.publish(b"before")
    before_mb = rss_mb()
    attack(random.Random(3), int(lab.server.endpoint.rpartition(":")[2]))
    lab.publish(b"after")
    assert [item.message.data for item in lab.pull()] == [b"before", b"after"]
    assert rss_mb() - before_mb < MOST_GROWTH_MB


def random_fields(rng: random.Random, depth: int = 0) -> bytes:
    """Bytes that look like a protobuf message: tags, lengths and nested messages, some of them
    wrong."""
    made = bytearray()
    for _ in range(rng.randint(0, 6)):
        wire = rng.choice([0, 1, 2, 2, 2, 5])
        made.append(rng.randint(1, 15) << 3 | wire)
        if wire == 0:
            made += bytes([rng.randint(128, 255)] * rng.randint(0, 9)) + b"\x01"
        elif wire == 2:
            body = (
                random_fields(rng, depth + 1)
                if depth < MOST_DEPTH and rng.random() < 0.5
                else rng.choice(
                    [b"projects/ami-local/topics/other", b"projects/ami-local/subscriptions/b",
                     rng.randbytes(rng.randint(0, 100))]
                )
            )  # fmt: skip
            made.append(min(len(body), 127) if rng.random() < 0.9 else 127)
            made += body[:127]
        else:
            made += rng.randbytes(8 if wire == 1 else 4)
    return bytes(made)


METHODS = (
    *(f"Publisher/{name}" for name in (
        "CreateTopic", "GetTopic", "UpdateTopic", "DetachSubscription", "ListTopics",
        "ListTopicSubscriptions", "DeleteTopic", "Publish", "ListTopicSnapshots",
    )),
    *(f"Subscriber/{name}" for name in (
        "CreateSubscription", "GetSubscription", "UpdateSubscription", "Seek",
        "ListSubscriptions", "DeleteSubscription", "Pull", "Acknowledge", "ModifyAckDeadline",
        "StreamingPull", "CreateSnapshot",
    )),
)  # fmt: skip


def test_no_request_of_random_fields_ends_the_server(lab: Lab) -> None:
    lab.create()
    rng = random.Random(11)
    codes = set()
    with grpc.insecure_channel(lab.server.endpoint) as channel:
        for method in METHODS:
            call = channel.unary_unary(f"/google.pubsub.v1.{method}")
            for _ in range(40):
                try:
                    call(random_fields(rng), timeout=2)
                except grpc.RpcError as error:
                    codes.add(error.code())
    assert codes <= ALLOWED
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    lab.publish(b"after")
    assert b"after" in [item.message.data for item in lab.pull()]


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253_402_300_800, -62_135_596_801])
def test_a_seek_to_a_time_that_is_none_is_refused(lab: Lab, seconds: int) -> None:
    lab.create()
    lab.publish(b"before")
    request = pubsub.SeekRequest.pb()(subscription=lab.subscription)
    request.time.seconds = seconds
    with (
        grpc.insecure_channel(lab.server.endpoint) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary("/google.pubsub.v1.Subscriber/Seek")(
            request.SerializeToString(), timeout=5
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    lab.publish(b"after")
    assert [item.message.data for item in lab.pull()] == [b"before", b"after"]


def test_acks_of_messages_that_never_were_change_nothing(lab: Lab) -> None:
    lab.create()
    lab.publish(b"before")
    [held] = lab.pull()
    given = [
        re.sub(r"\d+", str(number), held.ack_id, count=1)
        if index == 0
        else re.sub(r"\d+", str(number), held.ack_id)
        for number in (2**63, 2**200, 0)
        for index in (0, 1)
    ]
    for ack_id in given:
        for call in (
            lambda one=ack_id: lab.subscriber.acknowledge(
                subscription=lab.subscription, ack_ids=[one], retry=None
            ),
            lambda one=ack_id: lab.subscriber.modify_ack_deadline(
                subscription=lab.subscription, ack_ids=[one], ack_deadline_seconds=0, retry=None
            ),
        ):
            with suppress(exceptions.InvalidArgument):
                call()
    lab.publish(b"after")
    assert b"after" in [item.message.data for item in lab.pull()]
