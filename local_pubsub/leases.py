"""Reads committed message ids, acks and deadlines of one subscription; gives what to deliver next.

Every message of a subscription is in exactly one place: never handed out (`fresh`), leased to a
client (`outstanding`), come back and waiting out its backoff (`delayed`) or ready again
(`returned`), out of delivery attempts (`exhausted`), or acknowledged and gone. Only the ids of a
window of fresh messages are in memory; the rest is read from the journal page by page.
"""

from __future__ import annotations

import heapq
import itertools
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from local_pubsub.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from local_pubsub.policies import DeliveryPolicy

WINDOW_MESSAGES = 20_000

# A message in a response costs its payload plus ack id, message id, publish time and framing.
MESSAGE_OVERHEAD_BYTES = 96

_WAIT_STEP_S = 5.0
_ACK_ID = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9]{1,18})")


class MessageSource(Protocol):
    """Where a queue finds the ids it does not hold in memory."""

    def page(
        self, subscription_id: int, after_id: int, up_to_id: int, limit: int
    ) -> list[tuple[int, int, int]]:
        """Return (message id, size [bytes], failed attempts) in (after_id, up_to_id], by id."""
        ...

    def holds(self, subscription_id: int, message_id: int) -> bool:
        """Return whether the subscription waits for the message."""
        ...

    def open_deliveries(self, subscription_id: int, after_id: int = 0) -> int:
        """Return how many messages beyond `after_id` the subscription waits for."""
        ...


@dataclass(eq=False, slots=True)
class Consumer:
    """One waiting pull or open stream: its limits (0 = none) and what it holds of them."""

    max_outstanding_messages: int = 0
    max_outstanding_bytes: int = 0
    outstanding_messages: int = 0
    outstanding_bytes: int = 0
    closed: bool = False

    def room_messages(self, wanted: int) -> int:
        """Return how many of `wanted` messages its flow control lets through."""
        if 0 < self.max_outstanding_bytes <= self.outstanding_bytes:
            return 0
        if self.max_outstanding_messages > 0:
            return min(wanted, self.max_outstanding_messages - self.outstanding_messages)
        return wanted

    def room_bytes(self, wanted: int) -> int:
        """Return how many of `wanted` bytes its flow control lets through."""
        if self.max_outstanding_bytes > 0:
            return min(wanted, self.max_outstanding_bytes - self.outstanding_bytes)
        return wanted


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message handed to a client; `attempt` is 1 plus its failed attempts so far."""

    message_id: int
    ack_id: str
    attempt: int


@dataclass(eq=False, slots=True)
class _Lease:
    delivery: int
    deadline_s: float
    size: int
    attempt: int
    consumer: Consumer


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A message whose delivery attempts are used up."""

    message_id: int
    size: int
    attempts: int


@dataclass(slots=True)
class QueueCounters:
    """What happened on a subscription since the server started, and what waits now."""

    delivered: int = 0
    redelivered: int = 0
    acked: int = 0
    backlog: int = 0
    outstanding: int = 0


@dataclass(slots=True)
class _Fresh:
    """Ids never handed out: `held` in memory up to `cursor`, `unloaded` more up to `last_id`.

    `acked_early` are ids acknowledged while still in here; they are counted out already.
    `attempts` are the failed attempts of an earlier run of the server, where there were any.
    """

    cursor: int
    last_id: int
    unloaded: int
    held: deque[tuple[int, int]] = field(default_factory=deque)
    acked_early: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)
    held_acked: int = 0

    def __len__(self) -> int:
        return len(self.held) - self.held_acked + self.unloaded


class SubscriptionQueue:
    """Leases and waiting messages of one subscription; safe to use from many threads."""

    def __init__(
        self,
        name: str,
        subscription_id: int,
        source: MessageSource,
        *,
        last_id: int = 0,
        backlog: int = 0,
        clock: Callable[[], float] = time.monotonic,
        window_messages: int = WINDOW_MESSAGES,
        first_delivery: int = 1,
        policy: DeliveryPolicy | None = None,
        on_attempts: Callable[[int, list[tuple[int, int]]], None] | None = None,
        on_exhausted: Callable[[], None] | None = None,
    ) -> None:
        """Start with the `backlog` messages up to `last_id` that `source` knows.

        `first_delivery` numbers the deliveries; it must be higher than in earlier runs of the
        server so that an ack id of an earlier run never stands for a newer lease. `on_attempts`
        gets the subscription id and (message id, failed attempts) worth keeping, `on_exhausted`
        is called when `exhausted` has something new; both must return quickly.
        """
        self.name = name
        self.subscription_id = subscription_id
        self._source = source
        self._clock = clock
        self._window_messages = window_messages
        self._deliveries = itertools.count(first_delivery)
        # A backlog is found by reading on from 0; without one there is nothing before last_id.
        self._fresh = _Fresh(0 if backlog else last_id, last_id, backlog)
        self._policy = policy or DeliveryPolicy()
        self._on_attempts = on_attempts or (lambda _subscription_id, _attempts: None)
        self._on_exhausted = on_exhausted or (lambda: None)
        self._returned: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._delayed: dict[int, tuple[int, int]] = {}
        self._delays: list[tuple[float, int, int]] = []
        self._exhausted: dict[int, Exhausted] = {}
        self._failed: list[tuple[int, int]] = []
        self._outstanding: dict[int, _Lease] = {}
        self._expiries: list[tuple[float, int, int]] = []
        self._counters = QueueCounters()
        self._deleted = False
        self._stopping = False
        self._changed = threading.Condition(threading.RLock())

    def add(self, first_message_id: int, sizes: Sequence[int]) -> None:
        """Take in committed messages with consecutive ids, in commit order."""
        with self._changed:
            fresh = self._fresh
            if fresh.unloaded == 0 and len(fresh.held) < self._window_messages:
                fresh.held.extend(enumerate(sizes, start=first_message_id))
                fresh.cursor = first_message_id + len(sizes) - 1
            else:
                fresh.unloaded += len(sizes)
            fresh.last_id = first_message_id + len(sizes) - 1
            self._changed.notify_all()

    def take(
        self, consumer: Consumer, max_messages: int, max_bytes: int, ack_deadline_s: float
    ) -> list[Delivery]:
        """Lease up to `max_messages` for `ack_deadline_s`, what came back first.

        The sizes sum up to at most `max_bytes`, but one message is handed out whatever its size.
        """
        with self._changed:
            self.expire()
            deadline_s = self._clock() + ack_deadline_s
            room_messages = consumer.room_messages(max_messages)
            room_bytes = consumer.room_bytes(max_bytes)
            deliveries: list[Delivery] = []
            while len(deliveries) < room_messages:
                waiting = self._next_waiting()
                if waiting is None:
                    break
                message_id, size, attempt = waiting
                cost = size + MESSAGE_OVERHEAD_BYTES
                if deliveries and cost > room_bytes:
                    break
                room_bytes -= cost
                if self._returned:
                    del self._returned[message_id]
                else:
                    self._fresh.held.popleft()
                deliveries.append(self._lease(message_id, size, attempt + 1, deadline_s, consumer))
            return deliveries

    def wait_and_take(
        self,
        consumer: Consumer,
        max_messages: int,
        max_bytes: int,
        ack_deadline_s: Callable[[], float],
        timeout_s: float,
    ) -> list[Delivery]:
        """Like `take`, but wait up to `timeout_s` for something to deliver.

        Returns nothing after the timeout or once `consumer` is closed. Raises NotFound when the
        subscription is deleted meanwhile, Unavailable when the server stops.
        """
        give_up_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._deleted:
                    raise NotFound(f"Subscription does not exist (resource={self.name}).")
                if self._policy.detached:
                    raise FailedPrecondition(f"Subscription is detached (resource={self.name}).")
                if self._stopping:
                    raise Unavailable("the Pub/Sub server is stopping; try again when it is back")
                if consumer.closed:
                    return []
                deliveries = self.take(consumer, max_messages, max_bytes, ack_deadline_s())
                left_s = give_up_s - time.monotonic()
                if deliveries or left_s <= 0:
                    return deliveries
                self._changed.wait(min(left_s, self._next_expiry_in_s()))

    def detach(self, consumer: Consumer) -> None:
        """Mark `consumer` as gone and wake its waiting thread; its leases run on."""
        with self._changed:
            consumer.closed = True
            self._changed.notify_all()

    def acknowledge(self, ack_ids: Sequence[str]) -> list[int]:
        """Settle the messages behind `ack_ids`; return the ids of those not settled before.

        An ack counts although its deadline has passed or the server was restarted since, as long
        as the message still waits: its client has dealt with it. Raises InvalidArgument for an
        ack id of another shape or another subscription, before any is settled.
        """
        parsed = [self._parse(ack_id) for ack_id in ack_ids]
        with self._changed:
            settled = [message_id for message_id, _ in parsed if self._settle(message_id)]
            self._counters.acked += len(settled)
            if settled:
                self._changed.notify_all()
            return settled

    def modify(self, changes: Sequence[tuple[str, int]]) -> None:
        """Move deadlines to so many seconds from now; 0 hands the message back at once.

        Deliveries that are not the current lease of their message are passed over. Raises
        InvalidArgument like `acknowledge`.
        """
        parsed = [(*self._parse(ack_id), seconds) for ack_id, seconds in changes]
        with self._changed:
            now_s = self._clock()
            for message_id, delivery, seconds in parsed:
                lease = self._outstanding.get(message_id)
                if lease is None or lease.delivery != delivery:
                    continue
                if seconds == 0:
                    self._fail(message_id, lease)
                else:
                    lease.deadline_s = now_s + seconds
                    heapq.heappush(self._expiries, (lease.deadline_s, message_id, delivery))
            self._forget_superseded_expiries()
            self._report_failed()
            self._changed.notify_all()

    def release(self, ack_ids: Sequence[str]) -> None:
        """Take back deliveries that never reached a client: no attempt, no backoff."""
        with self._changed:
            for message_id, delivery in reversed([self._parse(ack_id) for ack_id in ack_ids]):
                lease = self._outstanding.get(message_id)
                if lease is None or lease.delivery != delivery:
                    continue
                self._end(message_id, lease)
                self._counters.delivered -= 1
                self._counters.redelivered -= lease.attempt > 1
                self._returned[message_id] = (lease.size, lease.attempt - 1)
                self._returned.move_to_end(message_id, last=False)
            self._changed.notify_all()

    def set_policy(self, policy: DeliveryPolicy) -> None:
        """Follow another policy from now on; a detached one drops all messages."""
        with self._changed:
            self._policy = policy
            if policy.detached:
                self._restart(self._fresh.last_id, 0)
            self._changed.notify_all()

    def restart(self, last_id: int, backlog: int) -> None:
        """Forget what is in memory and wait for the `backlog` messages up to `last_id` again."""
        with self._changed:
            self._restart(last_id, backlog)
            self._changed.notify_all()

    def discard_through(self, message_id: int) -> None:
        """Forget all messages up to `message_id`, which the journal holds no longer."""
        with self._changed:
            for leased in [each for each in self._outstanding if each <= message_id]:
                self._end(leased, self._outstanding[leased])
            for place in (self._returned, self._delayed, self._exhausted):
                for gone in [each for each in place if each <= message_id]:
                    del place[gone]
            self._discard_fresh(message_id)
            self._changed.notify_all()

    def exhausted(self) -> list[Exhausted]:
        """Return the messages that wait for their way into the dead-letter topic."""
        with self._changed:
            return list(self._exhausted.values())

    def forget(self, message_ids: Sequence[int]) -> None:
        """Drop messages, wherever they are, that the journal holds no longer."""
        with self._changed:
            for message_id in message_ids:
                self._settle(message_id)
            self._changed.notify_all()

    def revive(self, message_ids: Sequence[int]) -> None:
        """Deliver exhausted messages again: there is no topic to take them."""
        with self._changed:
            for message_id in message_ids:
                revived = self._exhausted.pop(message_id, None)
                if revived is not None:
                    self._wait_again(message_id, revived.size, revived.attempts)
            self._changed.notify_all()

    def expire(self) -> None:
        """Hand back the messages whose deadline, or backoff, has passed."""
        with self._changed:
            now_s = self._clock()
            while self._expiries and self._expiries[0][0] <= now_s:
                _, message_id, delivery = heapq.heappop(self._expiries)
                lease = self._outstanding.get(message_id)
                if lease and lease.delivery == delivery and lease.deadline_s <= now_s:
                    self._fail(message_id, lease)
            while self._delays and self._delays[0][0] <= now_s:
                _, message_id, attempts = heapq.heappop(self._delays)
                waiting = self._delayed.get(message_id)
                if waiting and waiting[1] == attempts:
                    self._returned[message_id] = self._delayed.pop(message_id)
            self._report_failed()

    def mark_deleted(self) -> None:
        """Make all waiting and later takes raise NotFound."""
        with self._changed:
            self._deleted = True
            self._changed.notify_all()

    def mark_stopping(self) -> None:
        """Make all waiting and later takes raise Unavailable."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def counters(self) -> QueueCounters:
        """Return a copy of the counters with the present backlog (all unacknowledged)."""
        with self._changed:
            self.expire()
            outstanding = len(self._outstanding)
            return QueueCounters(
                delivered=self._counters.delivered,
                redelivered=self._counters.redelivered,
                acked=self._counters.acked,
                backlog=outstanding
                + len(self._returned)
                + len(self._delayed)
                + len(self._exhausted)
                + len(self._fresh),
                outstanding=outstanding,
            )

    def _parse(self, ack_id: str) -> tuple[int, int]:
        match = _ACK_ID.fullmatch(ack_id)
        if match is None:
            raise InvalidArgument(
                f"You have passed an invalid ack ID to the service (ack_id={ack_id[:80]})."
            )
        subscription_id, message_id, delivery = map(int, match.groups())
        if subscription_id != self.subscription_id:
            raise InvalidArgument(
                f"Ack ID {ack_id} does not belong to the subscription (resource={self.name})."
            )
        return message_id, delivery

    def _next_waiting(self) -> tuple[int, int, int] | None:
        """Return (message id, size, attempts so far) of the next message, left in its place."""
        if self._returned:
            message_id, (size, attempt) = next(iter(self._returned.items()))
            return message_id, size, attempt
        fresh = self._fresh
        while True:
            if not fresh.held and fresh.unloaded:
                self._load_page()
            if not fresh.held:
                return None
            message_id, size = fresh.held[0]
            if message_id in fresh.acked_early:
                fresh.held.popleft()
                fresh.acked_early.discard(message_id)
                fresh.held_acked -= 1
                continue
            attempts = fresh.attempts.pop(message_id, 0) if fresh.attempts else 0
            if not attempts:
                return message_id, size, 0
            # The last attempt failed just before the server ended.
            fresh.held.popleft()
            if self._is_exhausted(attempts):
                self._exhaust(message_id, size, attempts)
                continue
            self._returned[message_id] = (size, attempts)
            return message_id, size, attempts

    def _load_page(self) -> None:
        fresh = self._fresh
        rows = self._source.page(
            self.subscription_id, fresh.cursor, fresh.last_id, self._window_messages
        )
        page_end = rows[-1][0] if len(rows) == self._window_messages else fresh.last_id
        acked = {row[0] for row in rows if row[0] in fresh.acked_early}
        fresh.held.extend((message_id, size) for message_id, size, _ in rows)
        fresh.attempts.update((row[0], row[2]) for row in rows if row[2])
        fresh.held_acked += len(acked)
        # The last page leaves nothing, even if an ack was on its way to the disk when counting.
        full = len(rows) == self._window_messages
        fresh.unloaded = max(0, fresh.unloaded - len(rows) + len(acked)) if full else 0
        fresh.acked_early = acked | {early for early in fresh.acked_early if early > page_end}
        fresh.cursor = page_end

    def _lease(
        self, message_id: int, size: int, attempt: int, deadline_s: float, consumer: Consumer
    ) -> Delivery:
        delivery = next(self._deliveries)
        self._outstanding[message_id] = _Lease(delivery, deadline_s, size, attempt, consumer)
        heapq.heappush(self._expiries, (deadline_s, message_id, delivery))
        consumer.outstanding_messages += 1
        consumer.outstanding_bytes += size
        self._counters.delivered += 1
        self._counters.redelivered += attempt > 1
        return Delivery(message_id, f"{self.subscription_id}-{message_id}-{delivery}", attempt)

    def _end(self, message_id: int, lease: _Lease) -> None:
        del self._outstanding[message_id]
        lease.consumer.outstanding_messages -= 1
        lease.consumer.outstanding_bytes -= lease.size

    def _fail(self, message_id: int, lease: _Lease) -> None:
        """End an attempt that was refused or whose deadline has passed."""
        self._end(message_id, lease)
        if self._policy.counts_attempts:
            self._failed.append((message_id, lease.attempt))
        if self._is_exhausted(lease.attempt):
            self._exhaust(message_id, lease.size, lease.attempt)
        else:
            self._wait_again(message_id, lease.size, lease.attempt)

    def _is_exhausted(self, attempts: int) -> bool:
        return 0 < self._policy.max_attempts <= attempts

    def _exhaust(self, message_id: int, size: int, attempts: int) -> None:
        self._exhausted[message_id] = Exhausted(message_id, size, attempts)
        self._on_exhausted()

    def _wait_again(self, message_id: int, size: int, attempts: int) -> None:
        backoff_s = self._policy.backoff_s(attempts)
        if backoff_s > 0:
            self._delayed[message_id] = (size, attempts)
            heapq.heappush(self._delays, (self._clock() + backoff_s, message_id, attempts))
        else:
            self._returned[message_id] = (size, attempts)

    def _report_failed(self) -> None:
        if self._failed:
            self._on_attempts(self.subscription_id, self._failed)
            self._failed = []

    def _restart(self, last_id: int, backlog: int) -> None:
        for message_id, lease in list(self._outstanding.items()):
            self._end(message_id, lease)
        for place in (self._returned, self._delayed, self._exhausted):
            place.clear()
        self._expiries.clear()
        self._delays.clear()
        self._fresh = _Fresh(0 if backlog else last_id, last_id, backlog)

    def _discard_fresh(self, message_id: int) -> None:
        fresh = self._fresh
        while fresh.held and fresh.held[0][0] <= message_id:
            gone, _ = fresh.held.popleft()
            fresh.attempts.pop(gone, None)
            if gone in fresh.acked_early:
                fresh.acked_early.discard(gone)
                fresh.held_acked -= 1
        if message_id > fresh.cursor:
            fresh.cursor = min(message_id, fresh.last_id)
            fresh.unloaded = self._source.open_deliveries(self.subscription_id, fresh.cursor)
            fresh.acked_early = {early for early in fresh.acked_early if early > message_id}

    def _settle(self, message_id: int) -> bool:
        lease = self._outstanding.get(message_id)
        if lease is not None:
            self._end(message_id, lease)
            return True
        for place in (self._returned, self._delayed, self._exhausted):
            if place.pop(message_id, None) is not None:
                return True
        return self._settle_fresh(message_id)

    def _settle_fresh(self, message_id: int) -> bool:
        """Settle a message this run has not handed out: an ack id from before a restart."""
        fresh = self._fresh
        first_fresh = fresh.held[0][0] if fresh.held else fresh.cursor + 1
        if not first_fresh <= message_id <= fresh.last_id or message_id in fresh.acked_early:
            return False
        if not self._source.holds(self.subscription_id, message_id):
            return False
        fresh.acked_early.add(message_id)
        if message_id <= fresh.cursor:
            fresh.held_acked += 1
        else:
            fresh.unloaded -= 1
        return True

    def _next_expiry_in_s(self) -> float:
        due_s = [heap[0][0] for heap in (self._expiries, self._delays) if heap]
        if not due_s:
            return _WAIT_STEP_S
        return min(_WAIT_STEP_S, max(0.001, min(due_s) - self._clock()))

    def _forget_superseded_expiries(self) -> None:
        if len(self._expiries) > 4 * len(self._outstanding) + 1024:
            self._expiries = [
                (lease.deadline_s, message_id, lease.delivery)
                for message_id, lease in self._outstanding.items()
            ]
            heapq.heapify(self._expiries)
