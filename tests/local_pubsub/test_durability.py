"""Reads killed, doubled and misconfigured servers; gives that nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1

from ami_contract.errors import TransportError
from local_pubsub.broker import Broker
from local_pubsub.journal import _SCHEMA_STEPS, DATABASE_FILE, Journal
from local_pubsub.leases import Consumer
from local_pubsub.payloads import PayloadCache
from local_pubsub.server import PubSubServer

from .conftest import Lab

REPOSITORY = Path(__file__).parents[2]
SERVE = """
import sys
from pathlib import Path
from local_pubsub.server import serve_forever
serve_forever(Path(sys.argv[1]), int(sys.argv[2]), lambda endpoint: print(endpoint, flush=True))
"""
TOPIC = "projects/ami-local/topics/readings"
SUBSCRIPTION = "projects/ami-local/subscriptions/readings-sub"


@contextmanager
def served(directory: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server in a process of its own, and its endpoint."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(directory), "0"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def drain(lab: Lab, subscription: str) -> set[bytes]:
    seen: set[bytes] = set()
    while True:
        response = lab.subscriber.pull(
            request={
                "subscription": subscription,
                "max_messages": 1000,
                "return_immediately": True,
            }
        )
        if not response.received_messages:
            return seen
        seen.update(entry.message.data for entry in response.received_messages)


def lab_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", endpoint)
    # A Lab needs a server object only for its counters, which another process keeps.
    return Lab(None, pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient())  # type: ignore[arg-type]


def test_kill_9_mid_publish_loses_nothing_that_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "pubsub"
    second_subscription = SUBSCRIPTION + "-2"
    answered: list[set[bytes]] = [set() for _ in range(4)]
    acked: set[bytes] = set()
    with served(directory) as (process, endpoint):
        lab = lab_at(endpoint, monkeypatch)
        lab.create()
        lab.subscriber.create_subscription(name=second_subscription, topic=TOPIC)

        def publish(worker: int) -> None:
            number = 0
            while True:
                bodies = [b"%d-%d" % (worker, number + offset) for offset in range(7)]
                try:
                    lab.publish(*bodies)
                except (exceptions.GoogleAPICallError, exceptions.RetryError):
                    return
                answered[worker].update(bodies)
                number += 7

        workers = [threading.Thread(target=publish, args=(worker,)) for worker in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(0.3)
        received = lab.pull(max_messages=20)
        lab.subscriber.acknowledge(
            subscription=SUBSCRIPTION, ack_ids=[entry.ack_id for entry in received]
        )
        acked.update(entry.message.data for entry in received)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        for worker in workers:
            worker.join(timeout=10)
        lab.subscriber.close()

    ledger = set().union(*answered)
    assert len(ledger) > 500
    with served(directory) as (process, endpoint):
        lab = lab_at(endpoint, monkeypatch)
        assert lab.publisher.get_topic(topic=TOPIC).name == TOPIC
        again = drain(lab, SUBSCRIPTION)
        # The acks were half a second old: several flush intervals.
        assert again >= ledger - acked
        assert not again & acked
        assert drain(lab, second_subscription) >= ledger
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        lab.subscriber.close()


def test_a_clean_stop_keeps_every_ack_and_everything_else(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.create_topic(TOPIC, b"topic")
    broker.create_subscription(SUBSCRIPTION, TOPIC, b"")
    broker.publish(TOPIC, [b"a", b"b", b"c"])
    taken = _pull(broker)
    broker.acknowledge(broker.subscription(SUBSCRIPTION), [taken[b"b"]])
    broker.close()

    again = Broker(tmp_path)
    assert again.topic(TOPIC).config == b"topic"
    assert list(_pull(again)) == [b"a", b"c"]
    # An ack id from before the restart still settles its message.
    again.acknowledge(again.subscription(SUBSCRIPTION), [taken[b"a"]])
    assert again.counters().subscriptions[SUBSCRIPTION].backlog == 1
    assert list(again.publish(TOPIC, [b"d"])) == [4]
    again.close()


def test_acks_reach_the_disk_within_the_flush_interval(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.create_topic(TOPIC, b"")
    broker.create_subscription(SUBSCRIPTION, TOPIC, b"")
    broker.publish(TOPIC, [b"a", b"b"])
    broker.acknowledge(broker.subscription(SUBSCRIPTION), [_pull(broker)[b"a"]])
    time.sleep(0.3)
    with sqlite3.connect(tmp_path / DATABASE_FILE) as other:
        assert other.execute("SELECT payload FROM messages").fetchall() == [(b"b",)]
        assert other.execute("SELECT count(*) FROM deliveries").fetchone() == (1,)
    broker.close()


def test_a_backlog_beyond_cache_and_window_is_delivered_whole_from_disk(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cache_bytes=10_000)
    broker.create_topic(TOPIC, b"")
    broker.create_subscription(SUBSCRIPTION, TOPIC, b"")
    bodies = [b"%06d" % number + b"x" * 94 for number in range(25_000)]
    for start in range(0, len(bodies), 1000):
        broker.publish(TOPIC, bodies[start : start + 1000])
    assert broker._payloads.held_bytes <= 10_000
    seen: list[bytes] = []
    while taken := _pull(broker):
        seen += taken
        broker.acknowledge(broker.subscription(SUBSCRIPTION), list(taken.values()))
    assert seen == bodies
    broker.close()


def test_the_disk_refusing_is_unavailable_and_a_later_publish_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(tmp_path)
    broker.create_topic(TOPIC, b"")
    broker.create_subscription(SUBSCRIPTION, TOPIC, b"")
    broker.publish(TOPIC, [b"a"])
    taken = _pull(broker)
    append = broker._journal.append

    def refuse(*_args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(broker._journal, "append", refuse)
    monkeypatch.setattr(broker._journal, "settle", refuse)
    broker.acknowledge(broker.subscription(SUBSCRIPTION), list(taken.values()))
    with pytest.raises(TransportError, match="disk is full"):
        broker.publish(TOPIC, [b"lost"])
    time.sleep(0.25)
    monkeypatch.undo()
    assert broker._journal.append == append
    broker.publish(TOPIC, [b"kept"])
    assert list(_pull(broker)) == [b"kept"]
    broker.close()
    again = Broker(tmp_path)
    assert list(_pull(again)) == [b"kept"]
    again.close()


def _pull(broker: Broker) -> dict[bytes, str]:
    taken = broker.pull(broker.subscription(SUBSCRIPTION), Consumer(), 1000, 1 << 30, lambda: 10, 0)
    return {delivered.stored.payload: delivered.ack_id for delivered in taken}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def stored_ids(journal: Journal) -> list[int]:
    return sorted(journal.messages(list(range(1, 100))))


def test_a_payload_is_stored_once_and_goes_with_its_last_subscription(journal: Journal) -> None:
    with journal.transaction():
        topic = journal.add_topic("t", b"")
        first = journal.add_subscription("s1", topic.topic_id, b"").subscription_id
        second = journal.add_subscription("s2", topic.topic_id, b"").subscription_id
        journal.append([first, second], 1, 1_000_000, [b"a", b"bb", b"ccc"])
    assert stored_ids(journal) == [1, 2, 3]
    with journal.transaction():
        journal.settle(first, topic.topic_id, [1, 2])
    assert stored_ids(journal) == [1, 2, 3]
    assert journal.page(second, 1, 99, 10) == [(2, 2, 0), (3, 3, 0)]
    with journal.transaction():
        journal.settle(second, topic.topic_id, [2, 3])
    assert stored_ids(journal) == [1, 3]
    with journal.transaction():
        journal.remove_subscription(second)
    while journal.housekeep():
        pass
    assert stored_ids(journal) == [3]
    with journal.transaction():
        journal.remove_topic(topic.topic_id)
        journal.remove_subscription(first)
    while journal.housekeep():
        pass
    assert stored_ids(journal) == []
    assert journal.last_message_id() == 3


def test_a_failed_transaction_leaves_nothing(journal: Journal) -> None:
    with journal.transaction():
        journal.add_topic("taken", b"")

    def add_two() -> None:
        with journal.transaction():
            journal.add_topic("free", b"")
            journal.add_topic("taken", b"")

    with pytest.raises(sqlite3.IntegrityError):
        add_two()
    assert [topic.name for topic in journal.topics()] == ["taken"]


def test_the_file_does_not_grow_with_traffic_that_is_acknowledged(
    journal: Journal, tmp_path: Path
) -> None:
    with journal.transaction():
        topic = journal.add_topic("t", b"")
        subscription = journal.add_subscription("s", topic.topic_id, b"").subscription_id

    def pass_through(rounds: int) -> None:
        for _ in range(rounds):
            first = journal.last_message_id() + 1
            with journal.transaction():
                journal.append([subscription], first, 0, [os.urandom(100_000)] * 10)
            with journal.transaction():
                journal.settle(subscription, topic.topic_id, list(range(first, first + 10)))

    pass_through(30)
    early = sum(path.stat().st_size for path in tmp_path.iterdir())
    pass_through(90)
    late = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert late < early + 2_000_000 < 40_000_000


def test_the_server_does_not_grow_over_many_rounds_of_publish_and_ack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "pubsub"

    def size() -> int:
        return sum(path.stat().st_size for path in directory.iterdir())

    with PubSubServer(directory, port=0) as server:
        lab = lab_at(server.endpoint, monkeypatch)
        lab.create()
        sizes = []
        for _ in range(9):
            for _ in range(5):
                lab.publish(*[os.urandom(100_000)] * 20)
                while received := lab.pull_now():
                    lab.subscriber.acknowledge(
                        subscription=SUBSCRIPTION, ack_ids=[entry.ack_id for entry in received]
                    )
            sizes.append(size())
        lab.subscriber.close()
    # 90 MB went through, 60 of them after the third round; what stays is the write-ahead log and
    # free pages, how many depends on how far the settling lagged behind the publishing.
    assert max(sizes[3:]) < max(sizes[:3]) + 20_000_000
    assert size() < 45_000_000


def test_settling_a_message_does_not_write_it_a_second_time(
    journal: Journal, tmp_path: Path
) -> None:
    with journal.transaction():
        subscription = journal.add_subscription("s", 1, b"").subscription_id
        journal.append([subscription], 1, 0, [os.urandom(100_000)] * 40)
    journal._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with journal.transaction():
        journal.settle(subscription, 1, list(range(1, 41)))
    assert (tmp_path / f"{DATABASE_FILE}-wal").stat().st_size < 1_000_000


def test_an_overlong_write_ahead_log_is_folded_in_while_others_read(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_pubsub.journal._WAL_KEPT_BYTES", 1_000_000)
    log = tmp_path / f"{DATABASE_FILE}-wal"
    with sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM messages").fetchall()
        with journal.transaction():
            subscription = journal.add_subscription("s", 1, b"").subscription_id
            journal.append([subscription], 1, 0, [os.urandom(100_000)] * 40)
        reader.execute("COMMIT")
    assert log.stat().st_size > 2_000_000
    journal.housekeep()
    assert log.stat().st_size == 0


def test_a_journal_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE_FILE) as old:
        old.executescript(_SCHEMA_STEPS[0] + "PRAGMA user_version = 1;")
        old.executescript(
            f"""
            INSERT INTO topics VALUES (1, '{TOPIC}', x'');
            INSERT INTO subscriptions VALUES (1, '{SUBSCRIPTION}', 1, x'');
            INSERT INTO messages VALUES (7, {time.time_ns() // 1000}, 3, CAST('old' AS BLOB));
            INSERT INTO deliveries VALUES (1, 7, 3);
            UPDATE high_water SET message_id = 7;
            """
        )
    broker = Broker(tmp_path)
    assert list(_pull(broker)) == [b"old"]
    assert list(broker.publish(TOPIC, [b"new"])) == [8]
    broker.close()


def test_a_drained_backlog_gives_its_space_back(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_pubsub.journal._VACUUM_FROM_FREE_BYTES", 1_000_000)
    with journal.transaction():
        topic = journal.add_topic("t", b"")
        subscription = journal.add_subscription("s", topic.topic_id, b"").subscription_id
        journal.append([subscription], 1, 0, [os.urandom(100_000)] * 100)
    with journal.transaction():
        journal.settle(subscription, topic.topic_id, list(range(1, 101)))
    while journal.housekeep():
        pass
    (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = journal._writer.execute("PRAGMA page_size").fetchone()
    assert pages * page_bytes < 1_500_000


def test_the_cache_keeps_the_newest_within_its_budget_and_reads_the_rest(
    journal: Journal,
) -> None:
    cache = PayloadCache(journal, budget_bytes=5)
    with journal.transaction():
        topic = journal.add_topic("t", b"")
        subscription = journal.add_subscription("s", topic.topic_id, b"").subscription_id
        journal.append([subscription], 1, 7, [b"aa", b"bb", b"cc"])
    cache.put(1, 7, [b"aa", b"bb", b"cc"])
    assert cache.held_bytes == 4
    found = cache.get([1, 2, 3, 4])
    assert {message_id: found[message_id].payload for message_id in found} == {
        1: b"aa",
        2: b"bb",
        3: b"cc",
    }


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE_FILE) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(TransportError, match="version 99"):
        PubSubServer(tmp_path, port=0).start()


def test_a_second_server_on_the_directory_is_told_which_process_has_it(tmp_path: Path) -> None:
    with served(tmp_path) as (process, _):
        with pytest.raises(TransportError) as refused:
            PubSubServer(tmp_path, port=0).start()
        assert f"pid {process.pid}" in str(refused.value)
        assert str(tmp_path) in str(refused.value)
    # Killed, not stopped: the lock is free all the same.
    with PubSubServer(tmp_path, port=0), pytest.raises(TransportError, match=str(os.getpid())):
        PubSubServer(tmp_path, port=0).start()
    with PubSubServer(tmp_path, port=0):
        pass


def test_a_busy_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = PubSubServer(tmp_path, port=port)
        with pytest.raises(TransportError) as refused:
            server.start()
    assert str(refused.value) == (
        f"port {port} is in use: choose another with --port or stop the other server"
    )
    assert server.start() == port
    server.stop()


def test_a_port_of_another_pubsub_server_is_busy_too(tmp_path: Path) -> None:
    with PubSubServer(tmp_path / "one", port=0) as server:
        port = int(server.endpoint.rpartition(":")[2])
        with pytest.raises(TransportError, match=f"port {port} is in use"):
            PubSubServer(tmp_path / "two", port=port).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "192.168.1.1", "::"])
def test_hosts_others_could_reach_are_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(TransportError, match=host):
        PubSubServer(tmp_path, host=host)


def test_a_directory_that_cannot_be_made_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransportError, match="cannot be used"):
        PubSubServer(tmp_path / "file" / "pubsub", port=0).start()


def test_counters_and_a_second_start_need_the_right_state(tmp_path: Path) -> None:
    server = PubSubServer(tmp_path, port=0)
    with pytest.raises(TransportError, match="not running"):
        server.counters()
    with server, pytest.raises(TransportError, match="already started"):
        server.start()
    server.stop()


def test_sigint_ends_a_server_cleanly(tmp_path: Path) -> None:
    with served(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    assert not (tmp_path / f"{DATABASE_FILE}-wal").exists()


def test_writes_of_one_moment_share_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(tmp_path)
    broker.create_topic(TOPIC, b"")
    broker.create_subscription(SUBSCRIPTION, TOPIC, b"")
    commits = 0
    append: Callable[..., None] = broker._journal.append
    transaction = broker._journal.transaction

    def slow_append(*args: object) -> None:
        time.sleep(0.05)
        append(*args)

    @contextmanager
    def counted() -> Iterator[None]:
        nonlocal commits
        commits += 1
        with transaction():
            yield

    monkeypatch.setattr(broker._journal, "append", slow_append)
    monkeypatch.setattr(broker._journal, "transaction", counted)
    publishers = [
        threading.Thread(target=broker.publish, args=(TOPIC, [b"%d" % number]))
        for number in range(10)
    ]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert commits <= 3
    assert len(_pull(broker)) == 10
    broker.close()
