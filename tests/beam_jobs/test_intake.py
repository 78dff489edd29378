"""The intake collects while a batch is stored, within its bounds, and keeps its leases alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from ingest_helpers import QueueSource, as_json, message, reading

from ami_contract.errors import TransportError
from beam_jobs import intake as intake_module
from beam_jobs.elements import Message
from beam_jobs.intake import Intake, Limits
from beam_jobs.source import Received

WAIT_S = 0.4
MANY = Limits(max_messages=1000, max_bytes=1_000_000, max_wait_s=WAIT_S)


def messages(count: int) -> list[Message]:
    return [message(as_json(reading(i)), identity=str(i)) for i in range(count)]


def identities(received: list[Received]) -> list[str]:
    return [item.message.message_id for item in received]


def numbers(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


@contextmanager
def collecting(source: QueueSource, limits: Limits = MANY) -> Iterator[Intake]:
    with Intake(source, limits, time.monotonic) as intake:
        yield intake


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def test_what_came_within_the_wait_makes_one_batch() -> None:
    with collecting(QueueSource(messages(10), per_pull=4)) as intake:
        assert identities(intake.take(5)) == numbers(0, 10)


def test_a_batch_is_bounded_by_messages_and_the_next_goes_on_where_it_ended() -> None:
    source = QueueSource(messages(10), per_pull=2)
    with collecting(source, Limits(5, 1_000_000, 30.0)) as intake:
        assert identities(intake.take(5)) == numbers(0, 5)
        assert identities(intake.take(5)) == numbers(5, 10)


def test_a_batch_is_bounded_by_bytes() -> None:
    source = QueueSource(messages(10), per_pull=1)
    size = len(messages(1)[0].data)
    with collecting(source, Limits(1000, 2 * size + 1, 30.0)) as intake:
        assert identities(intake.take(5)) == numbers(0, 3)


def test_one_message_larger_than_the_bound_still_makes_a_batch() -> None:
    with collecting(QueueSource(messages(3), per_pull=1), Limits(1000, 1, 30.0)) as intake:
        assert identities(intake.take(5)) == ["0"]


def test_nothing_beyond_the_bounds_is_pulled_while_a_batch_waits() -> None:
    source = QueueSource(messages(50), per_pull=5)
    with collecting(source, Limits(10, 1_000_000, 30.0)):
        wait_until(lambda: len(source.queue) <= 40)
        time.sleep(0.1)
        assert len(source.queue) == 40


def test_take_gives_nothing_before_its_batch_is_due() -> None:
    with collecting(QueueSource(messages(2)), Limits(1000, 1_000_000, 30.0)) as intake:
        assert intake.take(0.05) == []


def test_a_backlog_that_grew_while_a_batch_was_stored_comes_at_once() -> None:
    source = QueueSource(messages(300), per_pull=100)
    with collecting(source) as intake:
        wait_until(lambda: not source.queue)
        time.sleep(WAIT_S)
        started = time.monotonic()
        assert len(intake.take(5)) == 300
        assert time.monotonic() - started < WAIT_S


def test_what_nobody_took_is_given_back_at_the_end() -> None:
    source = QueueSource(messages(3))
    with collecting(source, Limits(1000, 1_000_000, 30.0)):
        wait_until(lambda: not source.queue)
        time.sleep(0.05)
    assert source.released == ["ack-0", "ack-1", "ack-2"]


def test_leases_are_extended_until_their_messages_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake_module, "_EXTEND_AFTER_S", 0.02)
    source = QueueSource(messages(2))
    with collecting(source, Limits(2, 1_000_000, 30.0)) as intake:
        taken = intake.take(5)
        wait_until(lambda: len(source.extended) >= 6)
        intake.settle([item.ack_id for item in taken])
        time.sleep(0.1)
        settled_at = len(source.extended)
        time.sleep(0.1)
        assert len(source.extended) == settled_at
    assert set(source.extended) == {"ack-0", "ack-1"}
    assert source.acknowledged == ["ack-0", "ack-1"]


def test_a_source_that_is_away_is_asked_again_with_growing_pauses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Intake, "_pause", lambda self, seconds: pauses.append(seconds))
    away = TransportError("no Pub/Sub answers")
    with collecting(QueueSource(messages(2), troubles=[away] * 6)) as intake:
        assert identities(intake.take(5)) == ["0", "1"]

    assert pauses[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]
    assert "no Pub/Sub answers" in caplog.text


def test_being_away_is_not_being_idle() -> None:
    away = TransportError("no Pub/Sub answers")
    with collecting(QueueSource([], troubles=[None, *[away] * 1000])) as intake:
        time.sleep(0.2)
        assert intake.idle_s < 0


def test_idle_time_counts_from_the_first_pull_that_found_nothing() -> None:
    with collecting(QueueSource(messages(1))) as intake:
        assert intake.idle_s < 0
        intake.take(5)
        wait_until(lambda: intake.idle_s >= 0.1)


def test_a_bug_in_the_source_ends_the_ingest_instead_of_its_thread_alone() -> None:
    class Broken(QueueSource):
        def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
            raise ZeroDivisionError("a bug")

    with collecting(Broken([])) as intake, pytest.raises(ZeroDivisionError):
        intake.take(5)


def test_two_threads_never_get_the_same_message() -> None:
    source = QueueSource(messages(200), per_pull=7)
    taken: list[str] = []
    with collecting(source, Limits(10, 1_000_000, 0.01)) as intake:

        def work() -> None:
            while found := intake.take(0.3):
                taken.extend(identities(found))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(taken, key=int) == numbers(0, 200)
