"""Reads publishes, pulls and acks by resource name; gives durable, at-least-once delivery.

Ties the journal (what survives), its committer (when it survives), the payload cache and one
queue per subscription together. Knows nothing of gRPC: resources are names plus opaque bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_pubsub.committer import Committer
from local_pubsub.errors import AlreadyExists, NotFound
from local_pubsub.journal import Journal, StoredMessage, StoredSubscription, StoredTopic
from local_pubsub.leases import Consumer, Delivery, QueueCounters, SubscriptionQueue
from local_pubsub.payloads import PayloadCache

CACHE_BYTES = 64 * 1024 * 1024
FLUSH_INTERVAL_S = 0.1


@dataclass(eq=False, slots=True)
class Topic:
    """A living topic and the subscriptions attached to it, by name."""

    topic_id: int
    name: str
    config: bytes
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Subscription:
    """A living subscription; `topic` is None once its topic is deleted."""

    name: str
    topic_id: int
    config: bytes
    queue: SubscriptionQueue
    topic: Topic | None


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """One message on its way to a client."""

    message_id: int
    ack_id: str
    stored: StoredMessage


@dataclass(frozen=True, slots=True)
class SubscriptionCounters:
    """A subscription's deliveries and acks since the start, and what it still waits for."""

    delivered: int
    redelivered: int
    acked: int
    backlog: int
    outstanding: int
    oldest_unacked_age_s: float


@dataclass(frozen=True, slots=True)
class BrokerCounters:
    """Totals since the start of the server, and the living subscriptions by name."""

    published: int
    delivered: int
    redelivered: int
    acked: int
    subscriptions: dict[str, SubscriptionCounters]


class Broker:
    """Topics, subscriptions and messages of one journal directory; safe for many threads."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        cache_bytes: int = CACHE_BYTES,
        flush_interval_s: float = FLUSH_INTERVAL_S,
    ) -> None:
        """Open the journal in `directory` and take up what an earlier run left.

        `clock` [s] drives ack deadlines, `wall_clock_us` gives publish times. Raises
        sqlite3.Error when the journal cannot be opened.
        """
        self._clock = clock
        self._wall_clock_us = wall_clock_us
        self._journal = Journal(directory)
        self._payloads = PayloadCache(self._journal, cache_bytes)
        self._committer = Committer(self._journal, flush_interval_s)
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._published = 0
        self._removed_counters = QueueCounters()
        self._last_message_id = self._journal.last_message_id()
        self._load()
        self._committer.start()

    def _load(self) -> None:
        for stored_topic in self._journal.topics():
            self._keep_topic(stored_topic)
        living = {topic.topic_id: topic for topic in self._topics.values()}
        for stored in self._journal.subscriptions():
            backlog = self._journal.open_deliveries(stored.subscription_id)
            self._keep_subscription(stored, living.get(stored.topic_id), backlog)

    def _keep_topic(self, stored: StoredTopic) -> None:
        self._topics[stored.name] = Topic(stored.topic_id, stored.name, stored.config)

    def _keep_subscription(
        self, stored: StoredSubscription, topic: Topic | None, backlog: int
    ) -> None:
        queue = SubscriptionQueue(
            stored.name,
            stored.subscription_id,
            self._journal,
            last_id=self._last_message_id,
            backlog=backlog,
            clock=self._clock,
            first_delivery=self._wall_clock_us(),
        )
        subscription = Subscription(stored.name, stored.topic_id, stored.config, queue, topic)
        self._subscriptions[stored.name] = subscription
        if topic is not None:
            topic.subscriptions[stored.name] = subscription

    def stop_delivery(self) -> None:
        """Make waiting and later pulls raise Unavailable."""
        for subscription in list(self._subscriptions.values()):
            subscription.queue.mark_stopping()

    def close(self) -> None:
        """Commit what was handed in, including acks, and close the journal."""
        self.stop_delivery()
        self._committer.stop()
        self._journal.close()

    def create_topic(self, name: str, config: bytes) -> None:
        """Create a topic; raise AlreadyExists."""

        def write() -> StoredTopic:
            if name in self._topics:
                raise AlreadyExists(f"Topic already exists (resource={name}).")
            return self._journal.add_topic(name, config)

        self._committer.submit(write, self._keep_topic, alone=True)

    def topic(self, name: str) -> Topic:
        """Return the topic; raise NotFound."""
        topic = self._topics.get(name)
        if topic is None:
            raise NotFound(f"Topic not found (resource={name}).")
        return topic

    def topics(self) -> list[Topic]:
        """Return all living topics."""
        return list(self._topics.values())

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions keep what they wait for. Raise NotFound."""

        def write() -> Topic:
            topic = self.topic(name)
            self._journal.remove_topic(topic.topic_id)
            return topic

        def apply(topic: Topic) -> None:
            del self._topics[name]
            for subscription in topic.subscriptions.values():
                subscription.topic = None

        self._committer.submit(write, apply, alone=True)

    def create_subscription(self, name: str, topic_name: str, config: bytes) -> None:
        """Attach a subscription to a topic, from the next publish on.

        Raises NotFound for the topic, AlreadyExists for the subscription.
        """

        def write() -> StoredSubscription:
            topic = self.topic(topic_name)
            if name in self._subscriptions:
                raise AlreadyExists(f"Subscription already exists (resource={name}).")
            return self._journal.add_subscription(name, topic.topic_id, config)

        def apply(stored: StoredSubscription) -> None:
            self._keep_subscription(stored, self._topics[topic_name], backlog=0)

        self._committer.submit(write, apply, alone=True)

    def subscription(self, name: str) -> Subscription:
        """Return the subscription; raise NotFound."""
        subscription = self._subscriptions.get(name)
        if subscription is None:
            raise NotFound(f"Subscription does not exist (resource={name}).")
        return subscription

    def subscriptions(self) -> list[Subscription]:
        """Return all living subscriptions."""
        return list(self._subscriptions.values())

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription and the messages only it waits for; raise NotFound."""

        def write() -> Subscription:
            subscription = self.subscription(name)
            self._journal.remove_subscription(subscription.queue.subscription_id)
            return subscription

        def apply(subscription: Subscription) -> None:
            del self._subscriptions[name]
            if subscription.topic is not None:
                del subscription.topic.subscriptions[name]
            subscription.queue.mark_deleted()
            ended = subscription.queue.counters()
            self._removed_counters.delivered += ended.delivered
            self._removed_counters.redelivered += ended.redelivered
            self._removed_counters.acked += ended.acked

        self._committer.submit(write, apply, alone=True)

    def publish(self, topic_name: str, payloads: Sequence[bytes]) -> range:
        """Store `payloads` for every subscription of the topic; return their message ids.

        Returns after the commit is on disk. Raises NotFound for the topic and Unavailable when
        the disk refuses.
        """

        def write() -> tuple[list[Subscription], int, int]:
            receivers = list(self.topic(topic_name).subscriptions.values())
            first_id = self._last_message_id + 1
            # Ids move on even if the transaction fails: a gap is harmless, a reused id is not.
            self._last_message_id += len(payloads)
            publish_time_us = self._wall_clock_us()
            self._journal.append(
                [receiver.queue.subscription_id for receiver in receivers],
                first_id,
                publish_time_us,
                payloads,
            )
            return receivers, first_id, publish_time_us

        def apply(written: tuple[list[Subscription], int, int]) -> None:
            receivers, first_id, publish_time_us = written
            self._published += len(payloads)
            if receivers:
                self._payloads.put(first_id, publish_time_us, payloads)
                sizes = [len(payload) for payload in payloads]
                for receiver in receivers:
                    receiver.queue.add(first_id, sizes)

        _, first_id, _ = self._committer.submit(write, apply)
        return range(first_id, first_id + len(payloads))

    def pull(
        self,
        subscription: Subscription,
        consumer: Consumer,
        max_messages: int,
        max_bytes: int,
        ack_deadline_s: Callable[[], float],
        timeout_s: float,
    ) -> list[DeliveredMessage]:
        """Lease waiting messages to `consumer`, waiting up to `timeout_s` for the first.

        Raises NotFound when the subscription is deleted meanwhile, Unavailable on stop.
        """
        deliveries = subscription.queue.wait_and_take(
            consumer, max_messages, max_bytes, ack_deadline_s, timeout_s
        )
        return self._with_payloads(deliveries)

    def _with_payloads(self, deliveries: list[Delivery]) -> list[DeliveredMessage]:
        stored = self._payloads.get([delivery.message_id for delivery in deliveries])
        # A message acknowledged since it was taken may be gone: there is nothing left to deliver.
        return [
            DeliveredMessage(delivery.message_id, delivery.ack_id, stored[delivery.message_id])
            for delivery in deliveries
            if delivery.message_id in stored
        ]

    def acknowledge(self, subscription: Subscription, ack_ids: Sequence[str]) -> None:
        """Settle messages now, on disk within the flush interval; raise InvalidArgument."""
        settled = subscription.queue.acknowledge(ack_ids)
        if settled:
            self._committer.settle_later(
                subscription.queue.subscription_id, subscription.topic_id, settled
            )

    def counters(self) -> BrokerCounters:
        """Return what happened since the start and what waits now."""
        subscriptions = {
            subscription.name: self._subscription_counters(subscription)
            for subscription in self.subscriptions()
        }
        removed = self._removed_counters
        counted = list(subscriptions.values())
        return BrokerCounters(
            published=self._published,
            delivered=removed.delivered + sum(each.delivered for each in counted),
            redelivered=removed.redelivered + sum(each.redelivered for each in counted),
            acked=removed.acked + sum(each.acked for each in counted),
            subscriptions=subscriptions,
        )

    def _subscription_counters(self, subscription: Subscription) -> SubscriptionCounters:
        counters = subscription.queue.counters()
        oldest_us = None
        if counters.backlog:
            # Acks of the last flush interval are not on disk yet: the age may lag by that much.
            oldest_us = self._journal.oldest_publish_time_us(subscription.queue.subscription_id)
        age_us = 0 if oldest_us is None else max(0, self._wall_clock_us() - oldest_us)
        return SubscriptionCounters(
            delivered=counters.delivered,
            redelivered=counters.redelivered,
            acked=counters.acked,
            backlog=counters.backlog,
            outstanding=counters.outstanding,
            oldest_unacked_age_s=age_us / 1e6,
        )
