"""The micro-batch loop acknowledges last and loses nothing, whatever fails on the way."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from ingest_helpers import (
    BOUNDS,
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
from beam_jobs.bounded import RunMetrics
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.intake import Limits
from beam_jobs.local import LocalStore, Totals, ingest, segment_name
from beam_jobs.source import Received

LIMITS = Limits(max_messages=100, max_bytes=1_000_000, max_wait_s=0.05)


def tight(max_messages: int, max_bytes: int = 1_000_000) -> Limits:
    return Limits(max_messages, max_bytes, 0.05)


def run(data: DataDir, source: Any, *, limits: Limits = LIMITS, **options: Any) -> Totals:
    """Ingest until the source has been idle for a moment."""
    later = itertools.count()

    def now() -> datetime:
        return NOW + timedelta(seconds=next(later))

    return ingest(
        data,
        source,
        limits,
        BOUNDS,
        **{
            "stop": threading.Event(),
            "now": now,
            "clock": time.monotonic,
            "idle_timeout_s": 0,
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
        if identities(args[0] if step == "decode" else args[-1]) & {
            str(number) for number in poisonous
        }:
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


def test_a_full_or_closed_lake_is_waited_out_and_nothing_is_acknowledged_before(
    data: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")
    stop = threading.Event()
    problems: list[str] = []

    def report(totals: Totals) -> None:
        problems.append(totals.problem)
        if len(problems) == 2:
            assert source.acknowledged == []
            assert source.released == []
            data.landing.unlink()
        if not totals.problem:
            stop.set()

    source = QueueSource(messages(3))
    totals = run(data, source, stop=stop, idle_timeout_s=None, report=report)

    assert "landing" in problems[0]
    assert problems[-1] == ""
    assert "Nothing was acknowledged" in caplog.text
    assert stored_seqs(data) == [0, 1, 2]
    assert source.acknowledged == acks(0, 1, 2)
    assert totals.counters["stored"] == 3


def test_a_stop_while_the_lake_is_closed_gives_the_messages_back(data: DataDir) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")
    stop = threading.Event()
    source = QueueSource(messages(3))
    totals = run(data, source, stop=stop, idle_timeout_s=None, report=lambda _: stop.set())

    assert totals.batches == 0
    assert source.acknowledged == []
    assert source.released == acks(0, 1, 2)


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


def test_stop_ends_the_loop_after_the_batch_in_hand_and_gives_the_rest_back(
    data: DataDir,
) -> None:
    stop = threading.Event()

    class Stopping(QueueSource):
        def acknowledge(self, ack_ids: Sequence[str]) -> None:
            stop.set()
            super().acknowledge(ack_ids)

    source = Stopping(messages(6), per_pull=2)
    totals = run(data, source, stop=stop, limits=tight(2), idle_timeout_s=None)

    assert totals.batches == 1
    assert stored_seqs(data) == [0, 1]
    assert source.acknowledged == acks(0, 1)
    assert sorted(source.released + [item.ack_id for item in source.queue]) == acks(2, 3, 4, 5)


def test_batches_handled_side_by_side_are_stored_once_each(data: DataDir) -> None:
    source = QueueSource(messages(60), per_pull=3)
    totals = run(data, source, limits=tight(3), workers=3)

    assert totals.batches == 20
    assert stored_seqs(data) == list(range(60))
    assert sorted(source.acknowledged) == sorted(acks(*range(60)))
    assert totals.counters["stored"] == 60


def test_a_worker_that_cannot_store_ends_the_others_and_acknowledges_nothing(
    data: DataDir,
) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")
    source = QueueSource(messages(6), per_pull=2)

    with pytest.raises(LakeError):
        run(data, source, limits=tight(2), workers=3)

    assert source.acknowledged == []
    assert sorted(source.released + [item.ack_id for item in source.queue]) == acks(*range(6))


def test_an_empty_source_writes_nothing_and_ends_when_told_to(data: DataDir) -> None:
    totals = run(data, QueueSource([]))

    assert (totals.batches, totals.refused) == (0, 0)
    assert not data.root.exists()


def test_redelivered_messages_become_copies_and_never_losses(data: DataDir) -> None:
    run(data, QueueSource(messages(3)))
    run(data, QueueSource(messages(3)))

    assert stored_seqs(data) == [0, 0, 1, 1, 2, 2]


def test_segment_names_sort_by_time_and_never_repeat() -> None:
    first = segment_name(NOW)
    second = segment_name(NOW + timedelta(microseconds=1))

    assert first < second
    assert segment_name(NOW) != first
    assert first.startswith("20260301T120000000000-")
    assert first.replace("-", "").isalnum()


def test_a_batch_that_overlaps_another_is_timed_from_its_own_begin(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is begun 100 s before the second, which takes 10 s, and ends 1000 s after it."""
    passed_s = [0.0]
    begun, other_ended, stop = threading.Event(), threading.Event(), threading.Event()
    durations: list[float] = []

    class Slow(QueueSource):
        def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
            if self.pulls == 1:
                assert begun.wait(30)
                passed_s[0] += 100
            return super().pull(max_messages, timeout_s)

    def store(_lake: LocalStore, batch: MessageBatch) -> RunMetrics:
        if batch.messages[0].message_id == "0":
            begun.set()
            assert other_ended.wait(30)
            passed_s[0] += 1000
        else:
            passed_s[0] += 10
        return RunMetrics({"stored": 1}, {})

    def report(totals: Totals) -> None:
        durations.append(totals.last_batch_s)
        other_ended.set()
        if totals.batches == 2:
            stop.set()

    monkeypatch.setattr(LocalStore, "store", store)
    run(
        data,
        Slow(messages(2), per_pull=1),
        limits=tight(1),
        workers=2,
        clock=lambda: time.monotonic() + passed_s[0],
        idle_timeout_s=None,
        stop=stop,
        report=report,
    )
    assert durations == pytest.approx([10, 1110], abs=5)
