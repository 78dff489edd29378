"""Reads random histories of one subscription; gives that no message is ever lost or doubled."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from local_pubsub.errors import InvalidArgument, NotFound, Unavailable
from local_pubsub.leases import MESSAGE_OVERHEAD_BYTES, Consumer, SubscriptionQueue
from local_pubsub.policies import DeliveryPolicy

UNBOUNDED = 1 << 40


class Disk:
    """The committed deliveries of one subscription, as the journal would give them."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.attempts: dict[int, int] = {}

    def page(
        self, subscription_id: int, after_id: int, up_to_id: int, limit: int
    ) -> list[tuple[int, int, int]]:
        found = [
            (message_id, size, self.attempts.get(message_id, 0))
            for message_id, size in sorted(self.rows.items())
            if after_id < message_id <= up_to_id
        ]
        return found[:limit]

    def holds(self, subscription_id: int, message_id: int) -> bool:
        return message_id in self.rows

    def open_deliveries(self, subscription_id: int, after_id: int = 0) -> int:
        return sum(message_id > after_id for message_id in self.rows)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A queue over a Disk with a clock set by hand."""

    def __init__(self, window_messages: int = 100, policy: DeliveryPolicy | None = None) -> None:
        self.disk = Disk()
        self.clock = Clock()
        self.queue = SubscriptionQueue(
            "sub",
            7,
            self.disk,
            clock=self.clock,
            window_messages=window_messages,
            policy=policy,
            on_attempts=lambda _subscription_id, failed: self.disk.attempts.update(failed),
        )
        self.last_id = 0

    def publish(self, *sizes: int) -> list[int]:
        ids = list(range(self.last_id + 1, self.last_id + 1 + len(sizes)))
        self.disk.rows.update(zip(ids, sizes, strict=True))
        self.last_id = ids[-1]
        self.queue.add(ids[0], sizes)
        return ids

    def take(
        self, count: int = 1000, consumer: Consumer | None = None, max_bytes: int = UNBOUNDED
    ) -> dict[int, str]:
        taken = self.queue.take(consumer or Consumer(), count, max_bytes, 10)
        return {delivery.message_id: delivery.ack_id for delivery in taken}


def test_a_lease_ends_at_its_deadline_not_before() -> None:
    bench = Bench()
    bench.publish(1)
    assert list(bench.take()) == [1]
    bench.clock.now_s = 9.999
    assert bench.take() == {}
    bench.clock.now_s = 10.0
    assert list(bench.take()) == [1]
    assert bench.queue.counters().redelivered == 1


def test_an_extension_counts_from_now_and_zero_hands_back_at_once() -> None:
    bench = Bench()
    bench.publish(1)
    ack_id = bench.take()[1]
    bench.clock.now_s = 8.0
    bench.queue.modify([(ack_id, 30)])
    bench.clock.now_s = 37.9
    assert bench.take() == {}
    bench.queue.modify([(ack_id, 0)])
    assert list(bench.take()) == [1]


def test_a_shortened_lease_ends_early() -> None:
    bench = Bench()
    bench.publish(1)
    bench.queue.modify([(bench.take()[1], 1)])
    bench.clock.now_s = 1.0
    assert list(bench.take()) == [1]


def test_a_handed_back_delivery_no_longer_moves_the_lease_but_its_ack_counts() -> None:
    bench = Bench()
    bench.publish(1)
    old = bench.take()[1]
    bench.clock.now_s = 10.0
    new = bench.take()[1]
    assert new != old
    bench.queue.modify([(old, 0)])
    assert bench.take() == {}
    assert bench.queue.acknowledge([old]) == [1]
    assert bench.queue.acknowledge([new, old]) == []
    assert bench.queue.counters().backlog == 0


def test_an_ack_after_the_deadline_takes_the_message_out_of_the_queue() -> None:
    bench = Bench()
    bench.publish(1, 1)
    ack_id = bench.take(1)[1]
    bench.clock.now_s = 11.0
    assert bench.queue.acknowledge([ack_id]) == [1]
    assert list(bench.take()) == [2]


@pytest.mark.parametrize("ack_id", ["", "x", "7-1", "7-1-1-1", "7--1-1", "7-1-²", "9" * 5000])
def test_a_malformed_ack_id_is_refused_and_nothing_of_the_request_is_settled(ack_id: str) -> None:
    bench = Bench()
    bench.publish(1)
    good = bench.take()[1]
    with pytest.raises(InvalidArgument, match="invalid ack ID"):
        bench.queue.acknowledge([good, ack_id])
    assert bench.queue.counters().outstanding == 1


def test_an_ack_id_of_another_subscription_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="does not belong"):
        Bench().queue.acknowledge(["8-1-1"])


def test_a_batch_stays_within_its_bytes_but_holds_at_least_one_message() -> None:
    bench = Bench()
    bench.publish(500, 400, 100, 5000)
    budget = 900 + 2 * MESSAGE_OVERHEAD_BYTES
    assert list(bench.take(max_bytes=budget)) == [1, 2]
    assert list(bench.take(max_bytes=budget)) == [3]
    assert list(bench.take(max_bytes=budget)) == [4]


def test_flow_control_counts_what_a_consumer_holds() -> None:
    bench = Bench()
    bench.publish(10, 10, 10, 10)
    consumer = Consumer(max_outstanding_messages=2)
    taken = bench.take(consumer=consumer)
    assert list(taken) == [1, 2]
    assert bench.take(consumer=consumer) == {}
    bench.queue.acknowledge([taken[1]])
    assert list(bench.take(consumer=consumer)) == [3]

    by_bytes = Consumer(max_outstanding_bytes=5)
    assert list(bench.take(consumer=by_bytes)) == [4]
    bench.publish(10)
    assert bench.take(consumer=by_bytes) == {}
    bench.clock.now_s = 10.0
    assert len(bench.take(consumer=by_bytes)) == 1


def test_only_a_window_of_the_backlog_is_held_in_memory() -> None:
    bench = Bench(window_messages=3)
    for _ in range(5):
        bench.publish(1, 1)
    assert len(bench.queue._fresh.held) <= 4
    assert bench.queue.counters().backlog == 10
    assert list(bench.take(4)) == [1, 2, 3, 4]
    assert list(bench.take()) == [5, 6, 7, 8, 9, 10]


def test_superseded_deadlines_do_not_pile_up() -> None:
    bench = Bench()
    bench.publish(1)
    ack_id = bench.take()[1]
    for _ in range(5000):
        bench.queue.modify([(ack_id, 600)])
    assert len(bench.queue._expiries) < 1100


def test_a_waiting_take_wakes_on_a_publish_an_expiry_and_the_end() -> None:
    queue = SubscriptionQueue("sub", 7, Disk())
    consumer = Consumer()

    def wait(deadline_s: float = 0.05) -> list[int]:
        taken = queue.wait_and_take(consumer, 10, UNBOUNDED, lambda: deadline_s, 5)
        return [delivery.message_id for delivery in taken]

    threading.Timer(0.05, queue.add, (1, [1])).start()
    assert wait() == [1]
    assert wait(60) == [1]  # the first lease of 0.05 s ran out
    threading.Timer(0.05, queue.detach, (consumer,)).start()
    assert wait() == []
    consumer.closed = False
    threading.Timer(0.05, queue.mark_deleted).start()
    with pytest.raises(NotFound, match="sub"):
        wait()
    stopped = SubscriptionQueue("sub", 7, Disk())
    stopped.mark_stopping()
    with pytest.raises(Unavailable):
        stopped.wait_and_take(consumer, 1, 1, lambda: 10, 5)


def test_backoff_is_doubled_bounded_and_over_at_once_for_an_ack() -> None:
    bench = Bench(policy=DeliveryPolicy(min_backoff_s=10, max_backoff_s=25))
    bench.publish(1, 1)
    for ready_s in (10.0, 30.0, 55.0, 80.0):
        bench.queue.modify([(ack_id, 0) for ack_id in bench.take().values()])
        bench.clock.now_s = ready_s - 0.1
        assert bench.take() == {}
        bench.clock.now_s = ready_s
    taken = bench.take(1)
    assert list(taken) == [1]
    assert bench.disk.attempts == {1: 4, 2: 4}
    bench.queue.modify([(taken[1], 0)])
    assert bench.queue.acknowledge([taken[1]]) == [1]
    bench.clock.now_s = 1000.0
    assert list(bench.take()) == [2]


def test_what_a_killed_server_left_exhausted_is_not_delivered_again() -> None:
    bench = Bench(policy=DeliveryPolicy(dead_letter_topic="dead", max_attempts=5))
    bench.disk.rows.update({1: 1, 2: 1, 3: 1})
    bench.disk.attempts.update({1: 5, 2: 4})
    bench.queue.restart(last_id=3, backlog=3)
    taken = bench.queue.take(Consumer(), 10, UNBOUNDED, 10)
    assert [(each.message_id, each.attempt) for each in taken] == [(2, 5), (3, 1)]
    (exhausted,) = bench.queue.exhausted()
    assert (exhausted.message_id, exhausted.attempts) == (1, 5)
    assert bench.queue.counters().backlog == 3
    bench.queue.revive([1])
    assert list(bench.take()) == [1]
    bench.clock.now_s = 10.0
    bench.queue.expire()
    bench.queue.forget([1, 2])
    assert list(bench.take()) == [3]


def test_a_released_delivery_comes_first_again_and_never_counted() -> None:
    bench = Bench(policy=DeliveryPolicy(min_backoff_s=10, max_backoff_s=10))
    bench.publish(1, 1, 1)
    first = bench.take(2)
    bench.queue.release(list(first.values()))
    taken = bench.queue.take(Consumer(), 10, UNBOUNDED, 10)
    assert [(each.message_id, each.attempt) for each in taken] == [(1, 1), (2, 1), (3, 1)]
    assert bench.queue.counters().delivered == 3


@pytest.mark.parametrize("oldest_kept", range(1, 14))
def test_discarding_a_prefix_leaves_the_rest_wherever_it_is(oldest_kept: int) -> None:
    bench = Bench(window_messages=3)
    for _ in range(6):
        bench.publish(1, 1)
    taken = bench.take(3)
    bench.queue.modify([(taken[2], 0)])
    for gone in range(1, oldest_kept):
        del bench.disk.rows[gone]
    bench.queue.discard_through(oldest_kept - 1)
    kept = set(range(oldest_kept, 13))
    assert bench.queue.counters().backlog == len(kept)
    bench.clock.now_s = 20.0
    assert set(bench.take()) == kept
    assert bench.queue.counters().backlog == len(kept)


def test_acks_that_overtake_a_restart_leave_no_phantom_backlog() -> None:
    bench = Bench(window_messages=3)
    bench.publish(*[1] * 10)
    bench.queue.restart(last_id=10, backlog=10)
    del bench.disk.rows[4], bench.disk.rows[9]
    assert list(bench.take()) == [1, 2, 3, 5, 6, 7, 8, 10]
    assert bench.queue.counters().backlog == 8


class SubscriptionHistory(RuleBasedStateMachine):
    """Every published message is exactly one of acknowledged, leased or waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(window_messages=3)
        self.waiting: set[int] = set()
        self.leased: dict[int, tuple[str, float]] = {}
        self.acked: set[int] = set()
        self.ack_ids: list[tuple[int, str]] = []
        self.unflushed: list[int] = []
        self.runs = 1

    def _lapse(self) -> None:
        for message_id, (_, deadline_s) in list(self.leased.items()):
            if deadline_s <= self.bench.clock.now_s:
                del self.leased[message_id]
                self.waiting.add(message_id)

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        self.waiting.update(self.bench.publish(*[1] * count))

    @rule(gap=st.integers(1, 3))
    def publish_elsewhere(self, gap: int) -> None:
        self.bench.last_id += gap

    @rule(count=st.integers(1, 6))
    def pull(self, count: int) -> None:
        taken = self.bench.take(count)
        assert set(taken) <= self.waiting
        assert len(taken) == min(count, len(self.waiting))
        for message_id, ack_id in taken.items():
            self.waiting.remove(message_id)
            self.leased[message_id] = (ack_id, self.bench.clock.now_s + 10)
            self.ack_ids.append((message_id, ack_id))

    @precondition(lambda self: self.ack_ids)
    @rule(data=st.data())
    def ack_any_delivery_ever(self, data: st.DataObject) -> None:
        message_id, ack_id = data.draw(st.sampled_from(self.ack_ids))
        settled = self.bench.queue.acknowledge([ack_id])
        assert settled == ([] if message_id in self.acked else [message_id])
        self.waiting.discard(message_id)
        self.leased.pop(message_id, None)
        self.acked.add(message_id)
        self.unflushed += settled

    @precondition(lambda self: self.ack_ids)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 25]))
    def move_deadline(self, data: st.DataObject, seconds: int) -> None:
        message_id, ack_id = data.draw(st.sampled_from(self.ack_ids))
        self.bench.queue.modify([(ack_id, seconds)])
        if self.leased.get(message_id, ("", 0))[0] == ack_id:
            self.leased[message_id] = (ack_id, self.bench.clock.now_s + seconds)
            self._lapse()

    @rule(seconds=st.sampled_from([1, 5, 10]))
    def let_time_pass(self, seconds: int) -> None:
        self.bench.clock.now_s += seconds
        self._lapse()

    @rule()
    def flush_acks(self) -> None:
        for message_id in self.unflushed:
            del self.bench.disk.rows[message_id]
        self.unflushed.clear()

    @rule()
    def crash_and_restart(self) -> None:
        self.runs += 1
        self.acked -= set(self.unflushed)
        self.waiting |= set(self.unflushed) | set(self.leased)
        self.unflushed.clear()
        self.leased.clear()
        self.bench.queue = SubscriptionQueue(
            "sub",
            7,
            self.bench.disk,
            last_id=self.bench.last_id,
            backlog=len(self.bench.disk.rows),
            clock=self.bench.clock,
            window_messages=3,
            first_delivery=self.runs * 1_000_000,
        )

    @invariant()
    def counters_agree(self) -> None:
        counters = self.bench.queue.counters()
        assert counters.outstanding == len(self.leased)
        assert counters.backlog == len(self.leased) + len(self.waiting)

    def teardown(self) -> None:
        self.bench.clock.now_s += 1000
        self._lapse()
        assert set(self.bench.take()) == self.waiting


TestSubscriptionHistory = SubscriptionHistory.TestCase
TestSubscriptionHistory.settings = settings(max_examples=150, stateful_step_count=40)
