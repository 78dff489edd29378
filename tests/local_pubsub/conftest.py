"""Reads nothing; gives a running server per test and Google's own clients pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient as GeneratedPublisher

from local_pubsub.server import PubSubServer

PROJECT = "ami-local"


@dataclass
class Lab:
    """A server and the two clients, with the names of one topic and its subscription."""

    server: PubSubServer
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient
    topic: str = f"projects/{PROJECT}/topics/readings"
    subscription: str = f"projects/{PROJECT}/subscriptions/readings-sub"

    def create(self) -> None:
        self.publisher.create_topic(name=self.topic)
        self.subscriber.create_subscription(name=self.subscription, topic=self.topic)

    def publish(self, *bodies: bytes) -> list[str]:
        return self.publish_messages([{"data": body} for body in bodies])

    def publish_messages(self, messages: list[dict], topic: str | None = None) -> list[str]:
        """Publish in one request, without the batching of the hand-written client."""
        generated = GeneratedPublisher(transport=self.publisher.transport)
        request = {"topic": topic or self.topic, "messages": messages}
        return list(generated.publish(request=request, retry=None).message_ids)

    def pull(self, max_messages: int = 1000, timeout: float = 5) -> list:
        response = self.subscriber.pull(
            subscription=self.subscription, max_messages=max_messages, timeout=timeout
        )
        return list(response.received_messages)

    def pull_now(self, max_messages: int = 1000) -> list:
        response = self.subscriber.pull(
            request={
                "subscription": self.subscription,
                "max_messages": max_messages,
                "return_immediately": True,
            }
        )
        return list(response.received_messages)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PubSubServer]:
    with PubSubServer(tmp_path / "pubsub", port=0) as running:
        yield running


@pytest.fixture
def lab(server: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
    publisher = pubsub_v1.PublisherClient()
    with pubsub_v1.SubscriberClient() as subscriber:
        yield Lab(server, publisher, subscriber)
    publisher.stop()
