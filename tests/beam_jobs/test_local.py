"""The micro-batch loop acknowledges last and loses nothing, whatever fails on the way."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from ingest_helpers import (
    MAX_PAYLOAD_BYTES,
    NOW,
    QueueSource,
    as_json,
    dead_letters,
    json_lines,
    message,
    reading,
    stored_rows,
)

from ami_contract.errors import LakeError, TransportError
from ami_contract.lake import DataDir
from beam_jobs import pipeline
from beam_jobs.elements import Message
from beam_jobs.local import Limits, Totals, collect, ingest, segment_name
from beam_jobs.source import Received

LIMITS = Limits(
    max_messages=100, max_bytes=1_000_000, max_wait_s=0.05, max_payload_bytes=MAX_PAYLOAD_BYTES
)


def tight(max_messages: int, max_bytes: int = 1_000_000) -> Limits:
    return Limits(max_messages, max_bytes, 0.05, MAX_PAYLOAD_BYTES)


class Clock:
    """Seconds that pass only when somebody looks, a fixed step each time."""

    def __init__(self, step_s: float = 0.01) -> None:
        self._ticks = itertools.count()
        self._step_s = step_s

    def __call__(self) -> float:
        return next(self._ticks) * self._step_s


def run(data: DataDir, source: Any, *, limits: Limits = LIMITS, **options: Any) -> Totals:
    """Ingest until the source has been idle for a moment."""
    later = itertools.count()

    def now() -> datetime:
        return NOW + timedelta(seconds=next(later))

    return ingest(
        data,
        source,
        limits,
        **{
            "stop": threading.Event(),
            "now": now,
            "clock": Clock(),
            "idle_timeout_s": 0.05,
        }
        | options,
    )


def messages(count: int) -> list[Message]:
    return [message(as_json(reading(i)), identity=str(i)) for i in range(count)]


def acks(*numbers: int) -> list[str]:
    return [f"ack-{number}" for number in numbers]


def stored_seqs(data: DataDir) -> list[int]:
    return sorted(row["seq"] for row in stored_rows(data))


def test_everything_queued_is_stored_and_acknowledged(data: DataDir) -> None:
    source = QueueSource([*messages(5), message(b"{", identity="bad")])
    reports: list[int] = []
    totals = run(data, source, report=lambda t: reports.append(t.counters["stored"]))

    assert stored_seqs(data) == [0, 1, 2, 3, 4]
    assert source.acknowledged == [*acks(0, 1, 2, 3, 4), "ack-bad"]
    assert source.released == []
    assert (totals.batches, totals.refused) == (1, 1)
    assert (totals.counters["messages"], totals.counters["stored"]) == (6, 5)
    assert reports == [5]


def test_files_are_there_before_the_acknowledgement(data: DataDir) -> None:
    class Watching(QueueSource):
        def acknowledge(self, ack_ids: Sequence[str]) -> None:
            seen.append((stored_seqs(data), len(json_lines(data.archive)), len(dead_letters(data))))
            super().acknowledge(ack_ids)

    seen: list[tuple[list[int], int, int]] = []
    run(data, Watching([*messages(2), message(b"{", identity="bad")]))

    assert seen == [([0, 1], 2, 1)]


def test_a_lake_error_acknowledges_nothing_and_gives_the_messages_back(data: DataDir) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")
    source = QueueSource(messages(3))

    with pytest.raises(LakeError, match="landing"):
        run(data, source)

    assert source.acknowledged == []
    assert source.released == acks(0, 1, 2)


def test_a_lake_error_is_told_even_when_the_messages_cannot_be_given_back(data: DataDir) -> None:
    class Deaf(QueueSource):
        def release(self, ack_ids: Sequence[str]) -> None:
            raise TransportError("gone")

    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")

    with pytest.raises(LakeError):
        run(data, Deaf(messages(1)))


def identities(value: Any) -> set[str]:
    """Ids of the messages that stand behind what a step is given."""
    if isinstance(value, pa.Table):
        return set(value["batch_id"].to_pylist())
    batch = getattr(value, "batch", value)
    return {item.message_id for item in batch.messages}


@pytest.mark.parametrize(
    ("step", "poisonous"),
    [("decode", [3]), ("validate", [0, 6]), ("enrich", [6]), ("write_landing", [0])],
)
def test_a_poison_message_is_set_aside_and_its_neighbours_are_stored(
    data: DataDir, monkeypatch: pytest.MonkeyPatch, step: str, poisonous: list[int]
) -> None:
    original = getattr(pipeline, step)

    def stumbling(*args: Any, **options: Any) -> Any:
        if identities(args[-1]) & {str(number) for number in poisonous}:
            raise ZeroDivisionError("a bug")
        return original(*args, **options)

    monkeypatch.setattr(pipeline, step, stumbling)
    source = QueueSource(messages(7))
    totals = run(data, source)

    good = [i for i in range(7) if i not in poisonous]
    assert sorted(set(stored_seqs(data))) == good
    assert sorted((r["message_id"], r["code"], r["row"]) for r in dead_letters(data)) == [
        (str(n), "processing_failed", None) for n in poisonous
    ]
    assert all("ZeroDivisionError" in r["detail"] for r in dead_letters(data))
    assert source.acknowledged == acks(*range(7))
    assert totals.counters["refused.processing_failed"] == len(poisonous)
    assert totals.counters["stored"] == len(good)
    assert totals.counters["messages"] == 7


def test_a_transport_error_is_waited_out(data: DataDir) -> None:
    class Patient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return self.is_set()

    waits: list[float | None] = []
    away = TransportError("no Pub/Sub answers")
    source = QueueSource(messages(2), troubles=[away] * 6)
    run(data, source, stop=Patient())

    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]
    assert stored_seqs(data) == [0, 1]
    assert source.acknowledged == acks(0, 1)


def test_the_wait_starts_small_again_after_a_success(data: DataDir) -> None:
    class Patient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return self.is_set()

    waits: list[float | None] = []
    away = TransportError("no Pub/Sub answers")
    run(data, QueueSource([], troubles=[away, away, None, away]), stop=Patient())

    assert waits == [0.5, 1.0, 0.5]


def test_an_acknowledgement_that_fails_keeps_the_loop_going(data: DataDir) -> None:
    class Forgetful(QueueSource):
        def acknowledge(self, ack_ids: Sequence[str]) -> None:
            if not self.acknowledged:
                super().acknowledge(["tried"])
                raise TransportError("away")
            super().acknowledge(ack_ids)

    source = Forgetful(messages(4), per_pull=2)
    totals = run(data, source, limits=tight(2))

    assert totals.batches == 2
    assert source.acknowledged == ["tried", *acks(2, 3)]
    assert stored_seqs(data) == [0, 1, 2, 3]


def test_stop_ends_the_loop_after_the_batch_in_hand(data: DataDir) -> None:
    stop = threading.Event()

    class Stopping(QueueSource):
        def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
            stop.set()
            return super().pull(max_messages, timeout_s)

    source = Stopping(messages(4), per_pull=2)
    totals = run(data, source, stop=stop, idle_timeout_s=None)

    assert totals.batches == 1
    assert stored_seqs(data) == [0, 1]
    assert source.acknowledged == acks(0, 1)
    assert len(source.queue) == 2


def test_an_empty_source_writes_nothing_and_ends_when_told_to(data: DataDir) -> None:
    totals = run(data, QueueSource([]))

    assert (totals.batches, totals.refused) == (0, 0)
    assert not data.root.exists()


def test_redelivered_messages_become_copies_and_never_losses(data: DataDir) -> None:
    run(data, QueueSource(messages(3)))
    run(data, QueueSource(messages(3)))

    assert stored_seqs(data) == [0, 0, 1, 1, 2, 2]


def collected(source: QueueSource, limits: Limits, clock: Clock | None = None) -> list[str]:
    found = collect(source, limits, clock=clock or Clock(), stop=threading.Event())
    return [item.message.message_id for item in found]


def test_a_batch_is_bounded_by_messages() -> None:
    source = QueueSource(messages(10), per_pull=2)

    assert collected(source, tight(5)) == ["0", "1", "2", "3", "4"]


def test_a_batch_is_bounded_by_bytes() -> None:
    source = QueueSource(messages(10), per_pull=1)
    size = len(messages(1)[0].data)

    assert collected(source, tight(100, 2 * size + 1)) == ["0", "1", "2"]


def test_one_message_larger_than_the_bound_still_makes_a_batch() -> None:
    source = QueueSource(messages(3), per_pull=1)

    assert collected(source, tight(100, 1)) == ["0"]


def test_a_batch_is_bounded_by_time() -> None:
    source = QueueSource(messages(10), per_pull=1)

    assert collected(source, LIMITS, Clock(step_s=0.02)) == ["0", "1", "2"]


def test_nothing_at_hand_makes_no_batch_after_one_pull() -> None:
    source = QueueSource([])

    assert collected(source, LIMITS) == []
    assert source.pulls == 1


def test_segment_names_sort_by_time_and_never_repeat() -> None:
    first = segment_name(NOW)
    second = segment_name(NOW + timedelta(microseconds=1))

    assert first < second
    assert segment_name(NOW) != first
    assert first.startswith("20260301T120000000000-")
    assert first.replace("-", "").isalnum()
