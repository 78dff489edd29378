"""Reads committed message ids, acks and deadlines of one subscription; gives what to deliver next.

Every message of a subscription is in exactly one place: never handed out (`fresh`), handed out
and come back (`returned`), leased to a client (`outstanding`), or acknowledged and gone. Only the
ids of a window of fresh messages are in memory; the rest is read from the journal page by page.
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

from local_pubsub.errors import InvalidArgument, NotFound, Unavailable

WINDOW_MESSAGES = 20_000

# A message in a response costs its payload plus ack id, message id, publish time and framing.
MESSAGE_OVERHEAD_BYTES = 96

_WAIT_STEP_S = 5.0
_ACK_ID = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9]{1,18})")


class MessageSource(Protocol):
    """Where a queue finds the ids it does not hold in memory."""

    def page(
        self, subscription_id: int, after_id: int, up_to_id: int, limit: int
    ) -> list[tuple[int, int]]:
        """Return (message id, size [bytes]) in (after_id, up_to_id], ascending by id."""
        ...

    def holds(self, subscription_id: int, message_id: int) -> bool:
        """Return whether the subscription waits for the message."""
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
    """A message handed to a client; `attempt` counts from 1 since the server started."""

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
    """

    cursor: int
    last_id: int
    unloaded: int
    held: deque[tuple[int, int]] = field(default_factory=deque)
    acked_early: set[int] = field(default_factory=set)
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
    ) -> None:
        """Start with the `backlog` messages up to `last_id` that `source` knows.

        `first_delivery` numbers the deliveries; it must be higher than in earlier runs of the
        server so that an ack id of an earlier run never stands for a newer lease.
        """
        self.name = name
        self.subscription_id = subscription_id
        self._source = source
        self._clock = clock
        self._window_messages = window_messages
        self._deliveries = itertools.count(first_delivery)
        # A backlog is found by reading on from 0; without one there is nothing before last_id.
        self._fresh = _Fresh(0 if backlog else last_id, last_id, backlog)
        self._returned: OrderedDict[int, tuple[int, int]] = OrderedDict()
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
                if attempt:
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
                    self._give_back(message_id, lease)
                else:
                    lease.deadline_s = now_s + seconds
                    heapq.heappush(self._expiries, (lease.deadline_s, message_id, delivery))
            self._forget_superseded_expiries()
            self._changed.notify_all()

    def expire(self) -> None:
        """Hand back the messages whose deadline has passed."""
        with self._changed:
            now_s = self._clock()
            while self._expiries and self._expiries[0][0] <= now_s:
                _, message_id, delivery = heapq.heappop(self._expiries)
                lease = self._outstanding.get(message_id)
                if lease and lease.delivery == delivery and lease.deadline_s <= now_s:
                    self._give_back(message_id, lease)

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
                backlog=outstanding + len(self._returned) + len(self._fresh),
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
            if message_id not in fresh.acked_early:
                return message_id, size, 0
            fresh.held.popleft()
            fresh.acked_early.discard(message_id)
            fresh.held_acked -= 1

    def _load_page(self) -> None:
        fresh = self._fresh
        rows = self._source.page(
            self.subscription_id, fresh.cursor, fresh.last_id, self._window_messages
        )
        page_end = rows[-1][0] if len(rows) == self._window_messages else fresh.last_id
        acked = {message_id for message_id, _ in rows if message_id in fresh.acked_early}
        fresh.held.extend(rows)
        fresh.held_acked += len(acked)
        fresh.unloaded -= len(rows) - len(acked)
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

    def _give_back(self, message_id: int, lease: _Lease) -> None:
        self._end(message_id, lease)
        self._returned[message_id] = (lease.size, lease.attempt)

    def _settle(self, message_id: int) -> bool:
        lease = self._outstanding.get(message_id)
        if lease is not None:
            self._end(message_id, lease)
            return True
        if self._returned.pop(message_id, None) is not None:
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
        if not self._expiries:
            return _WAIT_STEP_S
        return min(_WAIT_STEP_S, max(0.001, self._expiries[0][0] - self._clock()))

    def _forget_superseded_expiries(self) -> None:
        if len(self._expiries) > 4 * len(self._outstanding) + 1024:
            self._expiries = [
                (lease.deadline_s, message_id, lease.delivery)
                for message_id, lease in self._outstanding.items()
            ]
            heapq.heapify(self._expiries)
