"""The spool keeps what it was given through kills and outages, in order, within its bounds."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import orjson
import pytest
from google.api_core import exceptions
from simulator_helpers import FAULTY, START, run

from ami_contract.errors import LakeError, SettingsError, TransportError
from local_pubsub.server import PubSubServer
from simulator.config import parse_config
from simulator.forward import StoreAndForward
from simulator.gateway import Message
from simulator.publisher import CollectingPublisher, PublisherCounters, PubSubPublisher
from simulator.run import simulate
from simulator.spool import Spool, orphans
from simulator.truth import OVERFLOW_COLUMNS


def message(number: int, due_s: float | None = None, size: int = 0) -> Message:
    due_s = float(number) if due_s is None else due_s
    reading = {"meter_id": "m1", "seq": number, "event_ts": "t", "pad": "x" * size}
    data = orjson.dumps([reading])
    attributes = {"content_type": "application/json", "batch_id": str(number)}
    return Message(data, attributes, 1, round(due_s * 1e6))


def taken(spool: Spool) -> list[int]:
    found = []
    while (entry := spool.take()) is not None:
        found.append(entry.ordinal)
        assert orjson.loads(entry.message.data)[0]["seq"] == entry.ordinal
    return found


class Flaky(CollectingPublisher):
    """Refuses while `is_away`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.refused = 0

    def publish(self, message: Message) -> Future[None]:
        if not self.is_away:
            return super().publish(message)
        self.refused += 1
        outcome: Future[None] = Future()
        outcome.set_exception(exceptions.ServiceUnavailable("away"))
        return outcome


def wait_until(condition, timeout_s: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def test_what_was_appended_is_there_after_a_process_went_away_without_a_word(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "s", max_bytes=4000)  # segments of 500 bytes
    for number in range(20):
        spool.append(message(number))
    for _ in range(3):
        entry = spool.take()
        assert entry is not None
        if entry.ordinal != 1:
            spool.acknowledge(entry)
    spool.close()  # nothing is written by it
    again = Spool(tmp_path / "s", max_bytes=4000)
    assert (again.waiting, again.readings, again.next_ordinal) == (18, 18, 20)
    assert again.last_due_us == 19_000_000
    assert taken(again) == [1, *range(3, 20)]


def test_a_record_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for number in range(3):
        spool.append(message(number))
    spool.close()
    [segment] = (tmp_path / "s").glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-7])
    again = Spool(tmp_path / "s")
    assert again.next_ordinal == 2
    again.append(message(2))
    assert taken(again) == [0, 1, 2]


def test_a_record_that_a_power_cut_left_blank_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for number in range(3):
        spool.append(message(number))
    spool.close()
    [segment] = (tmp_path / "s").glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-7] + bytes(7))
    assert taken(Spool(tmp_path / "s")) == [0, 1]


def test_damage_in_the_middle_is_named_and_nothing_is_given_up_silently(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_bytes=4000)
    for number in range(20):
        spool.append(message(number))
    spool.close()
    oldest = min((tmp_path / "s").glob("*.seg"))
    oldest.write_bytes(oldest.read_bytes()[:-7] + bytes(7))
    with pytest.raises(LakeError, match=rf"{oldest.name} is damaged after byte \d+; remove"):
        Spool(tmp_path / "s")


def test_acknowledged_segments_leave_the_disk_and_the_position_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_bytes=8000)
    for number in range(100):
        spool.append(message(number))
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
    assert spool.size <= 1000
    spool.close()
    again = Spool(tmp_path / "s", max_bytes=8000)
    assert (again.waiting, again.next_ordinal, taken(again)) == (0, 100, [])


def test_a_full_spool_drops_the_oldest_and_lists_every_reading(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_bytes=10_000)
    for number in range(200):
        spool.append(message(number, size=100))
    assert spool.size <= 10_000
    kept = taken(spool)
    assert kept == list(range(kept[0], 200))
    assert spool.overflowed == kept[0] > 100
    lost = [("m1", str(number), "t") for number in range(kept[0])]
    assert list(spool.overflow()) == lost
    spool.close()
    again = Spool(tmp_path / "s", max_bytes=10_000)
    assert (again.overflowed, list(again.overflow())) == (kept[0], lost)


def test_a_spool_keeps_its_time_and_not_much_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_age_s=3600)
    for minute in range(300):
        spool.append(message(minute, due_s=60 * minute))
    kept = taken(spool)
    # an hour, and the rest of an eighth of it
    assert 60 <= len(kept) <= 60 + 8 + 1
    assert kept[-1] == 299
    assert spool.overflowed == 300 - len(kept)


def test_two_processes_do_not_share_a_spool_and_orphans_are_found(tmp_path: Path) -> None:
    first = Spool(tmp_path / "a")
    first.append(message(0))
    with pytest.raises(SettingsError, match="another process sends these messages"):
        Spool(tmp_path / "a")
    assert orphans(tmp_path / "b") == []
    first.close()
    [found] = orphans(tmp_path / "b")
    assert taken(found) == [0]


def test_order_is_kept_through_an_outage_and_memory_is_not_needed(tmp_path: Path) -> None:
    inner = Flaky()
    forward = StoreAndForward(inner, Spool(tmp_path / "s"), most_messages=5, rng=lambda: 0.0)
    for number in range(5):
        forward.publish(message(number))
    wait_until(lambda: len(inner.messages) == 5)
    inner.is_away = True
    for number in range(5, 100):
        forward.publish(message(number))
    wait_until(lambda: inner.refused > 3)
    assert forward.counters().spooled == 95
    assert forward.counters().lag_s >= 90
    inner.is_away = False
    forward.flush()
    assert [m.due_us for m in inner.messages] == [n * 1_000_000 for n in range(100)]
    assert forward.counters() == PublisherCounters(
        messages=100,
        payload_bytes=sum(len(m.data) for m in inner.messages),
        retried=inner.refused,
        lag_s=0.0,
    )
    forward.close()
    assert not (tmp_path / "s").exists()


def test_a_restarted_run_takes_nothing_twice_and_sends_what_is_left(tmp_path: Path) -> None:
    _, made = run(FAULTY, 3)
    inner = Flaky()
    inner.is_away = True
    forward = StoreAndForward(inner, Spool(tmp_path / "s"), patience_s=0.0)
    for sent in made.messages[:40]:
        forward.publish(sent)
    forward.flush()
    assert forward.counters().spooled == sum(m.readings for m in made.messages[:40])
    forward.close()
    inner.is_away = False
    again = StoreAndForward(inner, Spool(tmp_path / "s"))
    assert again.resumes_at_us == made.messages[39].due_us
    summary = simulate(
        parse_config(FAULTY), start=START, end=START.replace(minute=3), speed=None, publisher=again
    )
    again.close()
    assert [m.data for m in inner.messages] == [m.data for m in made.messages]
    assert summary.published == sum(m.readings for m in made.messages)
    assert summary.spooled == summary.overflowed == 0


def test_what_an_earlier_run_left_behind_goes_first(tmp_path: Path) -> None:
    old = Spool(tmp_path / "old")
    for number in range(3):
        old.append(message(number))
    old.close()
    own = Spool(tmp_path / "own")
    inner = CollectingPublisher()
    forward = StoreAndForward(inner, own, orphans(own.folder))
    forward.publish(message(7))
    forward.flush()
    forward.close()
    assert [m.due_us // 1_000_000 for m in inner.messages] == [0, 1, 2, 7]
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_run_is_not_continued_but_drained(tmp_path: Path) -> None:
    stop, inner = threading.Event(), Flaky()
    inner.is_away = True
    forward = StoreAndForward(inner, Spool(tmp_path / "s"), stop=stop, drain_s=0.1)
    forward.publish(message(0))
    stop.set()
    forward.flush()
    forward.close()
    again = Spool(tmp_path / "s")
    assert again.next_ordinal == 0
    [left] = orphans(again.folder)
    assert taken(left) == [0]


def test_a_message_that_can_never_be_taken_is_given_up_and_said(tmp_path: Path) -> None:
    class Strict(CollectingPublisher):
        def publish(self, message: Message) -> Future[None]:
            if message.due_us:
                return super().publish(message)
            outcome: Future[None] = Future()
            outcome.set_exception(TransportError("too large"))
            return outcome

    inner = Strict()
    forward = StoreAndForward(inner, Spool(tmp_path / "s"))
    for number in range(3):
        forward.publish(message(number))
    with pytest.raises(TransportError, match="1 messages can never be published: too large"):
        forward.flush()
    forward.close()
    assert len(inner.messages) == 2


def test_full_speed_waits_for_room_instead_of_dropping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.forward._WAITS_ABOVE_BYTES", 1_000)
    inner = Flaky()
    inner.is_away = True
    forward = StoreAndForward(inner, Spool(tmp_path / "s", max_bytes=4_000), waits_when_full=True)
    producer = threading.Thread(
        target=lambda: [forward.publish(message(n, size=100)) for n in range(50)]
    )
    producer.start()
    time.sleep(0.3)
    assert producer.is_alive()
    inner.is_away = False
    producer.join(timeout=20)
    assert not producer.is_alive()
    forward.flush()
    forward.close()
    assert [m.due_us // 1_000_000 for m in inner.messages] == list(range(50))


@pytest.mark.parametrize("bound", [{"max_age_s": 20.0}, {"max_bytes": 20_000}])
def test_a_live_run_that_catches_up_waits_for_room_and_one_on_time_does_not(
    tmp_path: Path, bound: dict[str, float]
) -> None:
    inner = Flaky()
    inner.is_away = True
    forward = StoreAndForward(inner, Spool(tmp_path / "s", **bound), waits_when_late=True)
    begun_s = time.time() - 3600
    producer = threading.Thread(
        target=lambda: [forward.publish(message(n, begun_s + n, 1_000)) for n in range(200)]
    )
    producer.start()
    time.sleep(0.3)
    assert producer.is_alive()
    assert forward.counters().overflowed == 0
    inner.is_away = False
    producer.join(timeout=20)
    forward.flush()
    assert [orjson.loads(m.data)[0]["seq"] for m in inner.messages] == list(range(200))
    # Meters do not wait for the network.
    inner.is_away = True
    for number in range(200):
        forward.publish(message(number, time.time() + number, 1_000))
    assert forward.counters().overflowed > 0
    forward.close()


def test_overflow_stands_in_summary_and_truth(tmp_path: Path) -> None:
    inner = Flaky()
    inner.is_away = True
    spool = Spool(tmp_path / "s", max_bytes=100_000)
    forward = StoreAndForward(inner, spool, patience_s=0.0, most_messages=1)
    summary = simulate(
        parse_config(FAULTY),
        start=START,
        end=START.replace(minute=5),
        speed=None,
        publisher=forward,
        truth_dir=tmp_path / "truth",
        overflow=forward.overflow,
    )
    forward.close()
    assert summary.overflowed > 0
    assert summary.spooled > 0
    assert summary.published == 0
    copies = summary.generated - summary.dropped + summary.duplicated
    assert summary.spooled + summary.overflowed == copies
    assert summary.truth is not None
    lines = (summary.truth / "overflow.csv").read_text().splitlines()
    assert lines[0] == ",".join(OVERFLOW_COLUMNS)
    assert len(lines) - 1 == summary.overflowed
    truth = orjson.loads((summary.truth / "run.json").read_bytes())
    assert truth["totals"]["overflowed"] == summary.overflowed
    assert not truth["complete"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("outage_s", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_every_reading_arrives_when_pubsub_was_stopped_in_the_middle(
    tmp_path: Path, outage_s: float
) -> None:
    port = free_port()
    server = PubSubServer(tmp_path / "pubsub", port=port)
    server.start()
    pubsub = PubSubPublisher("ami-test", "readings", server.endpoint, give_up_after_s=3.0)
    from test_publisher import Puller

    puller = Puller(server.endpoint)
    puller.subscribe()
    forward = StoreAndForward(pubsub, Spool(tmp_path / "spool" / "s"))
    config = parse_config({"pole_id": "p", "num_meters": 10, "publish_mode": "single"})
    raw_s = outage_s + 5
    returned: list[PubSubServer] = []
    deepest: list[int] = []

    def interrupt() -> None:
        time.sleep(2)
        server.stop()
        time.sleep(outage_s)
        deepest.append(forward.counters().spooled)
        again = PubSubServer(tmp_path / "pubsub", port=port)
        again.start()
        returned.append(again)

    thread = threading.Thread(target=interrupt)
    thread.start()
    summary = simulate(
        config,
        start=START,
        end=START.replace(second=int(raw_s) % 60, minute=int(raw_s) // 60),
        speed=1.0,
        publisher=forward,
    )
    thread.join()
    try:
        assert summary.generated == 10 * int(raw_s)
        assert summary.published == summary.generated
        assert deepest[0] >= 10 * (outage_s - 1)
        assert forward.counters().retried > 0
        arrived = {orjson.loads(data)["seq"] for data, _ in puller.all(summary.generated)}
        assert len(arrived) == int(raw_s)
    finally:
        forward.close()
        pubsub.close()
        puller.close()
        for again in returned:
            again.stop()
