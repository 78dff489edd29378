"""Reads streaming pulls of Google's client; gives delivery, flow control and clean ends."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import types as pubsub

from local_pubsub.server import PubSubServer

from .conftest import Lab


def eventually(happened: Callable[[], bool], within_s: float = 5.0) -> bool:
    give_up_s = time.monotonic() + within_s
    while time.monotonic() < give_up_s:
        if happened():
            return True
        time.sleep(0.01)
    return happened()


class RawStream:
    """A StreamingPull whose requests and responses a test sends and reads one by one."""

    def __init__(self, endpoint: str, **first: object) -> None:
        self._requests: queue.Queue = queue.Queue()
        self._channel = grpc.insecure_channel(endpoint)
        self.send(**{"stream_ack_deadline_seconds": 10, **first})
        self.call = self._channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=pubsub.StreamingPullRequest.serialize,
            response_deserializer=pubsub.StreamingPullResponse.deserialize,
        )(iter(self._requests.get, None), timeout=10)

    def send(self, **fields: object) -> None:
        self._requests.put(pubsub.StreamingPullRequest(**fields))

    def half_close(self) -> None:
        self._requests.put(None)

    def receive(self, count: int) -> list:
        received: list = []
        while len(received) < count:
            received += next(self.call).received_messages
        return received

    def status(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as ended:
            list(self.call)
        return ended.value.code(), ended.value.details()

    def close(self) -> None:
        self._requests.put(None)
        self.call.cancel()
        self._channel.close()


@pytest.fixture
def open_stream(lab: Lab) -> Iterator[Callable[..., RawStream]]:
    lab.create()
    streams: list[RawStream] = []

    def open_one(**first: object) -> RawStream:
        stream = RawStream(lab.server.endpoint, **{"subscription": lab.subscription, **first})
        streams.append(stream)
        return stream

    yield open_one
    for stream in streams:
        stream.close()


def outstanding(lab: Lab) -> int:
    return lab.server.counters().subscriptions[lab.subscription].outstanding


def backlog(lab: Lab) -> int:
    return lab.server.counters().subscriptions[lab.subscription].backlog


def test_the_streaming_client_receives_acks_and_gets_nacks_again(lab: Lab) -> None:
    lab.create()
    seen: dict[bytes, int] = {}
    finished = threading.Event()

    def receive(message: pubsub_v1.subscriber.message.Message) -> None:
        seen[message.data] = seen.get(message.data, 0) + 1
        if message.data == b"7" and seen[b"7"] == 1:
            message.nack()
        else:
            message.ack()
        if len(seen) == 200 and seen[b"7"] == 2:
            finished.set()

    future = lab.subscriber.subscribe(lab.subscription, receive)
    futures = [lab.publisher.publish(lab.topic, b"%d" % number) for number in range(200)]
    for published in futures:
        published.result(timeout=5)
    assert finished.wait(10)
    assert eventually(lambda: backlog(lab) == 0)
    future.cancel()
    future.result(timeout=5)
    assert seen.pop(b"7") == 2
    assert set(seen.values()) == {1}


def test_a_cancelled_stream_leaves_no_reader_that_swallows_messages(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream()
    lab.publish(b"one")
    stream.receive(1)
    stream.call.cancel()
    assert eventually(
        lambda: "streaming-pull-requests" not in {t.name for t in threading.enumerate()}
    )
    lab.publish(b"two")
    assert [entry.message.data for entry in lab.pull()] == [b"two"]


def test_acks_and_deadlines_on_the_stream_count(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream()
    lab.publish(b"acked", b"nacked")
    acked, nacked = stream.receive(2)
    stream.send(
        ack_ids=[acked.ack_id],
        modify_deadline_ack_ids=[nacked.ack_id],
        modify_deadline_seconds=[0],
    )
    (again,) = stream.receive(1)
    assert again.message.message_id == nacked.message.message_id
    assert eventually(lambda: backlog(lab) == 1)


def test_a_stream_holds_no_more_messages_than_it_asked_for(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    lab.publish(*[b"x"] * 5)
    stream = open_stream(max_outstanding_messages=2)
    first = stream.receive(2)
    lab.publish(b"x")
    assert not eventually(lambda: outstanding(lab) > 2, within_s=0.2)
    stream.send(ack_ids=[first[0].ack_id])
    assert len(stream.receive(1)) == 1
    # An ack that takes the unary way frees room all the same.
    lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[first[1].ack_id])
    assert len(stream.receive(1)) == 1
    assert outstanding(lab) == 2


def test_a_stream_holds_no_more_bytes_than_it_asked_for(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    lab.publish(*[b"x" * 1000] * 5)
    stream = open_stream(max_outstanding_bytes=2500)
    stream.receive(2)
    assert not eventually(lambda: outstanding(lab) > 3, within_s=0.2)


def test_stream_responses_stay_within_what_googles_client_takes(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    for number in range(5):
        lab.publish(bytes([number]) * 1_500_000)
    received = open_stream().receive(5)
    assert [entry.message.data[0] for entry in received] == [0, 1, 2, 3, 4]


def test_the_stream_deadline_rules_its_leases(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream(stream_ack_deadline_seconds=600)
    lab.publish(b"x")
    stream.receive(1)
    queue_of = lab.server._broker.subscription(lab.subscription).queue
    (lease,) = queue_of._outstanding.values()
    assert 590 < lease.deadline_s - time.monotonic() <= 600


def test_a_client_that_ended_its_own_side_goes_on_receiving(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream()
    stream.half_close()
    lab.publish(b"x")
    assert len(stream.receive(1)) == 1


@pytest.mark.parametrize(
    ("first", "later", "reason"),
    [
        ({"stream_ack_deadline_seconds": 9}, None, "ack_deadline_secs=9"),
        ({"stream_ack_deadline_seconds": 0}, None, "ack_deadline_secs=0"),
        ({"subscription": "nonsense"}, None, "subscription name"),
        ({"modify_deadline_seconds": [1]}, None, "pair up"),
        ({"ack_ids": ["nonsense"]}, None, "invalid ack ID"),
        ({}, {"subscription": "projects/ami-local/subscriptions/x12"}, "first request only"),
        ({}, {"max_outstanding_messages": 5}, "first request only"),
        ({}, {"stream_ack_deadline_seconds": 601}, "ack_deadline_secs=601"),
        ({}, {"ack_ids": ["nonsense"]}, "invalid ack ID"),
        (
            {},
            {"modify_deadline_ack_ids": ["1-1-1"], "modify_deadline_seconds": [601]},
            "ack_deadline_secs=601",
        ),
    ],
)
def test_a_request_that_breaks_a_rule_ends_the_stream(
    open_stream: Callable[..., RawStream], first: dict, later: dict | None, reason: str
) -> None:
    stream = open_stream(**first)
    if later is not None:
        stream.send(**later)
    code, details = stream.status()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


def test_a_stream_ends_with_not_found_when_its_subscription_goes(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream()
    lab.publish(b"x")
    stream.receive(1)
    lab.subscriber.delete_subscription(subscription=lab.subscription)
    assert stream.status()[0] == grpc.StatusCode.NOT_FOUND


def test_streams_and_waiting_pulls_end_with_unavailable_on_stop(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream()
    lab.publish(b"x")
    stream.receive(1)
    started_s = time.monotonic()
    lab.server.stop(grace_s=5)
    assert stream.status()[0] == grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - started_s < 2


@pytest.mark.slow  # Google's client waits out 10 s after a few refused connections
def test_the_streaming_client_reconnects_to_a_restarted_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = PubSubServer(tmp_path, port=0)
    port = server.start()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    lab = Lab(server, publisher, subscriber)
    lab.create()
    received: list[bytes] = []

    def receive(message: pubsub_v1.subscriber.message.Message) -> None:
        received.append(message.data)
        message.ack()

    future = subscriber.subscribe(lab.subscription, receive)
    lab.publish(b"before")
    assert eventually(lambda: b"before" in received)
    server.stop()
    with PubSubServer(tmp_path, port=port):
        lab.publisher.publish(lab.topic, b"after").result(timeout=10)
        assert eventually(lambda: b"after" in received, within_s=20)
        future.cancel()
        future.result(timeout=5)
        subscriber.close()
        publisher.stop()


def test_pulls_beyond_the_slots_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_pubsub.server._MAX_WAITING", 3)
    with PubSubServer(tmp_path, port=0) as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
        lab = Lab(server, pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient())
        lab.create()
        streams = [RawStream(server.endpoint, subscription=lab.subscription) for _ in range(3)]
        for stream in streams:
            stream.call.initial_metadata()
        extra = RawStream(server.endpoint, subscription=lab.subscription)
        code, details = extra.status()
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 pulls and streams" in details
        lab.publish(b"still answered")
        for stream in [*streams, extra]:
            stream.close()
        lab.subscriber.close()


def test_a_hundred_streams_share_a_subscription_without_doubling(lab: Lab) -> None:
    lab.create()
    streams = [
        RawStream(lab.server.endpoint, subscription=lab.subscription, max_outstanding_messages=5)
        for _ in range(100)
    ]
    for stream in streams:
        stream.call.initial_metadata()
    received: list[str] = []

    def read(stream: RawStream) -> None:
        with suppress(grpc.RpcError):
            for response in stream.call:
                received.extend(entry.message.message_id for entry in response.received_messages)
                stream.send(ack_ids=[entry.ack_id for entry in response.received_messages])

    readers = [threading.Thread(target=read, args=(stream,)) for stream in streams]
    for reader in readers:
        reader.start()
    published = lab.publish(*[b"x"] * 1000)
    assert eventually(lambda: len(received) >= 1000 and backlog(lab) == 0, within_s=10)
    for stream in streams:
        stream.close()
    for reader in readers:
        reader.join(timeout=5)
    assert sorted(received) == sorted(published)


def test_a_lease_extended_by_the_stream_outlives_its_deadline(
    lab: Lab, open_stream: Callable[..., RawStream]
) -> None:
    stream = open_stream()
    lab.publish(b"slow")
    (slow,) = stream.receive(1)

    def extend_to(seconds: int) -> None:
        stream.send(modify_deadline_ack_ids=[slow.ack_id], modify_deadline_seconds=[seconds])

    queue_of = lab.server._broker.subscription(lab.subscription).queue
    (lease,) = queue_of._outstanding.values()

    def left_s() -> float:
        return lease.deadline_s - time.monotonic()

    extend_to(1)
    assert eventually(lambda: left_s() < 2)
    time.sleep(0.6)
    extend_to(2)
    assert eventually(lambda: left_s() > 1)
    time.sleep(0.6)
    assert outstanding(lab) == 1
    assert lab.pull_now() == []


@pytest.mark.slow  # Google's client takes no lease shorter than 10 s
def test_googles_client_keeps_a_slow_message_by_extending_its_lease(lab: Lab) -> None:
    lab.create()
    lab.publish(b"slow")
    seen: list[str] = []

    def receive(message: pubsub_v1.subscriber.message.Message) -> None:
        seen.append(message.message_id)
        time.sleep(12)
        message.ack()

    future = lab.subscriber.subscribe(lab.subscription, receive)
    assert eventually(lambda: len(seen) > 0 and backlog(lab) == 0, within_s=20)
    future.cancel()
    future.result(timeout=5)
    assert len(seen) == 1


def test_googles_client_sends_its_flow_control_and_the_server_keeps_to_it(lab: Lab) -> None:
    lab.create()
    for _ in range(30):
        lab.publish(b"x" * 1000)
    held = threading.Event()
    future = lab.subscriber.subscribe(
        lab.subscription,
        lambda message: (held.wait(5), message.ack()),
        flow_control=pubsub_v1.types.FlowControl(max_messages=3, max_bytes=1 << 20),
    )
    assert eventually(lambda: outstanding(lab) == 3)
    assert not eventually(lambda: outstanding(lab) > 3, within_s=0.3)
    held.set()
    assert eventually(lambda: backlog(lab) == 0, within_s=10)
    future.cancel()
    future.result(timeout=5)
