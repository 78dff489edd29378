"""Reads publishes, pulls and acks by resource name; gives durable, at-least-once delivery.

Ties the journal (what survives), its committer (when it survives), the payload cache and one
queue per subscription together. Knows nothing of gRPC: a resource is a name plus its serialised
form.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from local_pubsub.committer import Committer
from local_pubsub.dead_letters import dead_letter_copy
from local_pubsub.errors import AlreadyExists, FailedPrecondition, NotFound
from local_pubsub.journal import Journal, StoredMessage, StoredSubscription, StoredTopic
from local_pubsub.leases import Consumer, Delivery, Exhausted, QueueCounters, SubscriptionQueue
from local_pubsub.payloads import PayloadCache
from local_pubsub.policies import DeliveryPolicy, policy_of
from local_pubsub.upkeep import Upkeep

logger = logging.getLogger(__name__)

CACHE_BYTES = 64 * 1024 * 1024
FLUSH_INTERVAL_S = 0.1
UPKEEP_INTERVAL_S = 1.0
_RETENTION_EVERY_ROUNDS = 10
_EXPIRE_STEP_MESSAGES = 5000
_FORWARD_STEP_BYTES = 16 * 1024 * 1024


@dataclass(eq=False, slots=True)
class Topic:
    """A living topic and the subscriptions attached to it, by name."""

    topic_id: int
    name: str
    config: bytes
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Subscription:
    """A living subscription; `topic` is None once it is deleted or the subscription detached."""

    name: str
    topic_id: int
    config: bytes
    policy: DeliveryPolicy
    queue: SubscriptionQueue
    topic: Topic | None


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """One message on its way to a client; `delivery_attempt` is 0 without dead-letter policy."""

    message_id: int
    ack_id: str
    stored: StoredMessage
    delivery_attempt: int = 0


@dataclass(frozen=True, slots=True)
class _Appended:
    """Messages in the journal: their receivers, ids from `first_id` on, and time [µs]."""

    receivers: list[Subscription]
    first_id: int
    publish_time_us: int


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
        upkeep_interval_s: float = UPKEEP_INTERVAL_S,
    ) -> None:
        """Open the journal in `directory` and take up what an earlier run left.

        `clock` [s] drives ack deadlines and backoffs, `wall_clock_us` gives publish times and
        the age of messages. Raises sqlite3.Error when the journal cannot be opened.
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
        self._upkeep = Upkeep(upkeep_interval_s)
        self._load()
        self._committer.start()
        self._upkeep.start(self._tend)

    def _load(self) -> None:
        for stored_topic in self._journal.topics():
            self._keep_topic(stored_topic)
        living = {topic.topic_id: topic for topic in self._topics.values()}
        for stored in self._journal.subscriptions():
            detached = policy_of(stored.config).detached
            backlog = 0 if detached else self._journal.open_deliveries(stored.subscription_id)
            topic = None if detached else living.get(stored.topic_id)
            self._keep_subscription(stored, topic, backlog)

    def _keep_topic(self, stored: StoredTopic) -> None:
        self._topics[stored.name] = Topic(stored.topic_id, stored.name, stored.config)

    def _keep_subscription(
        self, stored: StoredSubscription, topic: Topic | None, backlog: int
    ) -> None:
        policy = policy_of(stored.config)
        queue = SubscriptionQueue(
            stored.name,
            stored.subscription_id,
            self._journal,
            last_id=self._last_message_id,
            backlog=backlog,
            clock=self._clock,
            first_delivery=self._wall_clock_us(),
            policy=policy,
            on_attempts=self._committer.count_later,
            on_exhausted=self._upkeep.hurry,
        )
        subscription = Subscription(
            stored.name, stored.topic_id, stored.config, policy, queue, topic
        )
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
        self._upkeep.stop()
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

    def update_topic(self, name: str, change: Callable[[bytes], bytes]) -> bytes:
        """Replace the topic's resource by what `change` makes of it, and return that.

        Raises NotFound and whatever refusal `change` raises.
        """

        def write() -> tuple[Topic, bytes]:
            topic = self.topic(name)
            config = change(topic.config)
            self._journal.set_topic_config(topic.topic_id, config)
            return topic, config

        def apply(written: tuple[Topic, bytes]) -> None:
            topic, config = written
            topic.config = config

        return self._committer.submit(write, apply, alone=True)[1]

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

        Raises NotFound for the topic or the dead-letter topic, AlreadyExists for the subscription.
        """

        policy = policy_of(config)

        def write() -> StoredSubscription:
            topic = self.topic(topic_name)
            if name in self._subscriptions:
                raise AlreadyExists(f"Subscription already exists (resource={name}).")
            self._check_dead_letter_topic(policy)
            return self._journal.add_subscription(name, topic.topic_id, config)

        def apply(stored: StoredSubscription) -> None:
            self._keep_subscription(stored, self._topics[topic_name], backlog=0)

        self._committer.submit(write, apply, alone=True)

    def _check_dead_letter_topic(self, policy: DeliveryPolicy) -> None:
        if policy.dead_letter_topic:
            self.topic(policy.dead_letter_topic)

    def update_subscription(self, name: str, change: Callable[[bytes], bytes]) -> bytes:
        """Replace the subscription's resource by what `change` makes of it, and return that.

        Raises NotFound, for the subscription or its new dead-letter topic, and whatever refusal
        `change` raises.
        """

        def write() -> tuple[Subscription, bytes]:
            subscription = self.subscription(name)
            config = change(subscription.config)
            policy = policy_of(config)
            if policy.dead_letter_topic != subscription.policy.dead_letter_topic:
                self._check_dead_letter_topic(policy)
            self._journal.set_subscription_config(subscription.queue.subscription_id, config)
            return subscription, config

        return self._committer.submit(write, self._follow_new_config, alone=True)[1]

    @staticmethod
    def _follow_new_config(written: tuple[Subscription, bytes]) -> None:
        subscription, config = written
        subscription.config = config
        subscription.policy = policy_of(config)
        subscription.queue.set_policy(subscription.policy)

    def detach_subscription(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Cut a subscription off its topic and drop all it holds; raise NotFound.

        `change` marks the resource as detached.
        """

        def write() -> tuple[Subscription, bytes]:
            subscription = self.subscription(name)
            config = change(subscription.config)
            subscription_id = subscription.queue.subscription_id
            self._journal.set_subscription_config(subscription_id, config)
            self._journal.remove_backlog(subscription_id)
            return subscription, config

        def apply(written: tuple[Subscription, bytes]) -> None:
            subscription, _ = written
            if subscription.topic is not None:
                del subscription.topic.subscriptions[name]
                subscription.topic = None
            self._follow_new_config(written)

        self._committer.submit(write, apply, alone=True)

    def seek(self, name: str, time_us: int) -> None:
        """Settle what was published before `time_us` [µs, UTC], deliver again what came later.

        Only messages that are still waiting or retained can be delivered again. Raises NotFound,
        and FailedPrecondition for a detached subscription.
        """

        def write() -> tuple[Subscription, int]:
            subscription = self.subscription(name)
            if subscription.policy.detached:
                raise FailedPrecondition(f"Subscription is detached (resource={name}).")
            backlog = self._journal.seek(
                subscription.queue.subscription_id,
                subscription.topic_id,
                time_us,
                retain=subscription.policy.retain_acked,
            )
            return subscription, backlog

        def apply(written: tuple[Subscription, int]) -> None:
            subscription, backlog = written
            subscription.queue.restart(self._last_message_id, backlog)

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

        appended = self._committer.submit(
            lambda: self._append(self.topic(topic_name), payloads),
            lambda appended: self._deliver(appended, payloads),
        )
        return range(appended.first_id, appended.first_id + len(payloads))

    def _append(self, topic: Topic, payloads: Sequence[bytes]) -> _Appended:
        """Write messages; for the committer's thread inside a transaction."""
        receivers = list(topic.subscriptions.values())
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
        return _Appended(receivers, first_id, publish_time_us)

    def _deliver(self, appended: _Appended, payloads: Sequence[bytes]) -> None:
        """Make written messages known to their receivers; for the committer's thread."""
        self._published += len(payloads)
        if appended.receivers:
            self._payloads.put(appended.first_id, appended.publish_time_us, payloads)
            sizes = [len(payload) for payload in payloads]
            for receiver in appended.receivers:
                receiver.queue.add(appended.first_id, sizes)

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

        Raises NotFound when the subscription is deleted meanwhile, FailedPrecondition when it is
        detached, Unavailable on stop.
        """
        deliveries = subscription.queue.wait_and_take(
            consumer, max_messages, max_bytes, ack_deadline_s, timeout_s
        )
        return self._with_payloads(subscription, deliveries)

    def _with_payloads(
        self, subscription: Subscription, deliveries: list[Delivery]
    ) -> list[DeliveredMessage]:
        counted = subscription.policy.max_attempts > 0
        stored = self._payloads.get([delivery.message_id for delivery in deliveries])
        if len(stored) < len(deliveries):
            # Settled or expired since it was taken: there is nothing left to deliver.
            subscription.queue.forget(
                [each.message_id for each in deliveries if each.message_id not in stored]
            )
        return [
            DeliveredMessage(
                delivery.message_id,
                delivery.ack_id,
                stored[delivery.message_id],
                delivery.attempt if counted else 0,
            )
            for delivery in deliveries
            if delivery.message_id in stored
        ]

    def acknowledge(self, subscription: Subscription, ack_ids: Sequence[str]) -> None:
        """Settle messages now, on disk within the flush interval; raise InvalidArgument."""
        settled = subscription.queue.acknowledge(ack_ids)
        if settled:
            self._committer.settle_later(
                subscription.queue.subscription_id,
                subscription.topic_id,
                settled,
                retain=subscription.policy.retain_acked,
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

    def _tend(self, round_number: int) -> None:
        """Do what is due without anybody asking; for the upkeep's thread."""
        for subscription in self.subscriptions():
            subscription.queue.expire()
            self._forward_exhausted(subscription)
            if round_number % _RETENTION_EVERY_ROUNDS == 0:
                self.drop_expired(subscription)

    def _forward_exhausted(self, subscription: Subscription) -> None:
        while exhausted := _first_bytes(subscription.queue.exhausted(), _FORWARD_STEP_BYTES):
            topic = self._topics.get(subscription.policy.dead_letter_topic)
            if topic is None:
                subscription.queue.revive([each.message_id for each in exhausted])
                return
            if not topic.subscriptions:
                logger.warning(
                    "%d messages of %s go to the dead-letter topic %s, which has no subscription "
                    "and drops them: attach one",
                    len(exhausted),
                    subscription.name,
                    topic.name,
                )
            self._forward(subscription, exhausted)

    def _forward(self, subscription: Subscription, exhausted: list[Exhausted]) -> None:
        """Move messages to the dead-letter topic, all in one transaction."""
        stored = self._payloads.get([each.message_id for each in exhausted])
        # One acknowledged meanwhile may be gone: there is nothing left to forward.
        copies = [
            dead_letter_copy(stored[each.message_id], subscription.name, each.attempts)
            for each in exhausted
            if each.message_id in stored
        ]
        message_ids = [each.message_id for each in exhausted]

        def write() -> _Appended | None:
            topic = self.topic(subscription.policy.dead_letter_topic)
            self._journal.settle(
                subscription.queue.subscription_id,
                subscription.topic_id,
                message_ids,
                retain=subscription.policy.retain_acked,
            )
            return self._append(topic, copies) if copies else None

        def apply(appended: _Appended | None) -> None:
            subscription.queue.forget(message_ids)
            if appended is not None:
                self._deliver(appended, copies)

        self._committer.submit(write, apply)

    def drop_expired(self, subscription: Subscription) -> None:
        """Drop what is older than the subscription's retention; raise Unavailable."""
        subscription_id, topic_id = subscription.queue.subscription_id, subscription.topic_id
        cutoff_us = self._wall_clock_us() - int(subscription.policy.retention_s * 1e6)
        # What was retained goes at once when the subscription no longer retains.
        retained_cutoff_us = cutoff_us if subscription.policy.retain_acked else 1 << 62
        while expired := self._journal.expired(subscription_id, cutoff_us, _EXPIRE_STEP_MESSAGES):
            self._settle_expired(subscription, expired)
        while expired := self._journal.expired_retained(
            subscription_id, retained_cutoff_us, _EXPIRE_STEP_MESSAGES
        ):
            forget = partial(self._journal.forget_retained, subscription_id, topic_id, expired)
            self._committer.submit(forget, lambda _: None)

    def _settle_expired(self, subscription: Subscription, expired: list[int]) -> None:
        settle = partial(
            self._journal.settle,
            subscription.queue.subscription_id,
            subscription.topic_id,
            expired,
        )
        self._committer.submit(settle, lambda _: subscription.queue.discard_through(expired[-1]))
        logger.warning(
            "dropped %d messages of %s, unacknowledged for longer than its retention of %g s",
            len(expired),
            subscription.name,
            subscription.policy.retention_s,
        )


def _first_bytes(exhausted: Sequence[Exhausted], budget_bytes: int) -> list[Exhausted]:
    """Return the first messages within the budget, one at least if there is any."""
    taken: list[Exhausted] = []
    for each in exhausted:
        budget_bytes -= each.size
        if taken and budget_bytes < 0:
            break
        taken.append(each)
    return taken
