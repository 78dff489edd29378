"""Google's client carries the messages to a Pub/Sub server, or says why it cannot."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import orjson
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from simulator_helpers import FAULTY, START, run

from ami_contract.errors import TransportError
from local_pubsub.server import PubSubServer
from simulator.config import parse_config
from simulator.publisher import CollectingPublisher, PubSubPublisher
from simulator.run import simulate


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Puller:
    """Reads all of a topic through Google's subscriber client."""

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint)
        self._client = pubsub_v1.SubscriberClient(
            transport=SubscriberGrpcTransport(
                channel=self._channel, credentials=AnonymousCredentials()
            )
        )
        self._path = self._client.subscription_path("ami-test", "sub")

    def subscribe(self) -> None:
        topic = "projects/ami-test/topics/readings"
        self._client.create_subscription(name=self._path, topic=topic)

    def all(self, count: int) -> list[tuple[bytes, dict[str, str]]]:
        found: list[tuple[bytes, dict[str, str]]] = []
        while len(found) < count:
            reply = self._client.pull(subscription=self._path, max_messages=500, timeout=10)
            assert reply.received_messages, f"only {len(found)} of {count} messages came"
            found += [(m.message.data, dict(m.message.attributes)) for m in reply.received_messages]
            self._client.acknowledge(
                subscription=self._path, ack_ids=[m.ack_id for m in reply.received_messages]
            )
        return found

    def close(self) -> None:
        self._channel.close()


def test_every_message_arrives_whole_through_googles_client(tmp_path: Path) -> None:
    with PubSubServer(tmp_path, port=0) as server:
        publisher = PubSubPublisher("ami-test", "readings", server.endpoint)
        puller = Puller(server.endpoint)
        puller.subscribe()
        summary = simulate(
            parse_config(FAULTY),
            start=START,
            end=START.replace(minute=2),
            speed=None,
            publisher=publisher,
        )
        arrived = puller.all(summary.messages)
        publisher.close()
        puller.close()
    _, expected = run(FAULTY, 2)
    assert Counter((d, orjson.dumps(a, option=orjson.OPT_SORT_KEYS)) for d, a in arrived) == (
        Counter(
            (m.data, orjson.dumps(m.attributes, option=orjson.OPT_SORT_KEYS))
            for m in expected.messages
        )
    )
    assert publisher.counters().messages == summary.messages
    assert publisher.counters().failed == summary.failed == 0


def test_existing_topic_is_used_as_it_is(tmp_path: Path) -> None:
    with PubSubServer(tmp_path, port=0) as server:
        for _ in range(2):
            PubSubPublisher("ami-test", "readings", server.endpoint).close()


def test_no_server_is_named_with_a_remedy() -> None:
    port = free_port()
    with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{port}: start it \(ami pubsub\)"):
        PubSubPublisher("ami-test", "readings", f"127.0.0.1:{port}")


def test_messages_published_while_the_server_is_away_arrive_when_it_is_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    server = PubSubServer(tmp_path, port=port)
    server.start()
    publisher = PubSubPublisher("ami-test", "readings", server.endpoint)
    puller = Puller(server.endpoint)
    puller.subscribe()
    server.stop()
    _, made = run(FAULTY, 1)
    outcomes = [publisher.publish(message) for message in made.messages]
    returned: list[PubSubServer] = []

    def come_back() -> None:
        time.sleep(1.5)
        again = PubSubServer(tmp_path, port=port)
        again.start()
        returned.append(again)

    thread = threading.Thread(target=come_back)
    thread.start()
    publisher.flush()
    thread.join()
    try:
        assert all(outcome.exception() is None for outcome in outcomes)
        assert publisher.counters().retried > 0
        arrived = {data for data, _ in puller.all(len(made.messages))}
        assert arrived == {message.data for message in made.messages}
    finally:
        publisher.close()
        puller.close()
        for again in returned:
            again.stop()


def test_a_message_that_is_given_up_is_counted_and_reported(tmp_path: Path) -> None:
    with PubSubServer(tmp_path, port=0) as server:
        publisher = PubSubPublisher("ami-test", "readings", server.endpoint, give_up_after_s=0.5)
    _, made = run(FAULTY, 1)
    publisher.publish(made.messages[0])
    with pytest.raises(TransportError, match="1 messages could not be published"):
        publisher.flush()
    assert publisher.counters().failed == 1
    publisher.close()


def test_collecting_publisher_counts_what_it_keeps() -> None:
    _, made = run(FAULTY, 1)
    counters = made.counters()
    assert isinstance(made, CollectingPublisher)
    assert counters.messages == len(made.messages)
    assert counters.payload_bytes == sum(len(m.data) for m in made.messages)
