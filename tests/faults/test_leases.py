"""A stop gives messages back at once, and a batch that takes long is not delivered again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from fault_platform import running, wait_until
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from support import HOUR

from ami_cli.subscription import open_source
from ami_contract.settings import Settings
from ami_store.ledger import balance
from beam_jobs import intake, source
from beam_jobs.bounded import RunMetrics
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import MessageBatch
from beam_jobs.intake import Limits
from beam_jobs.local import LocalStore, ingest
from local_pubsub import limits
from local_pubsub.server import PubSubServer

CONFIG = """
pole_id: pole-1
num_meters: 4
publish_mode: batch
payload: json
batch_interval_s: 5
seed: 5
"""
WINDOW = timedelta(hours=1)


def test_sigterm_finishes_the_batch_in_hand_and_gives_the_rest_back_at_once(
    tmp_path: Path,
) -> None:
    with running(tmp_path, {"AMI_INGEST_MAX_MESSAGES": "50"}) as platform:
        platform.start_pubsub()
        assert platform.simulate(CONFIG, HOUR, WINDOW).wait(60) == 0
        first = platform.start("ingest")
        wait_until(lambda: platform.landed() > 0)
        asked = time.monotonic()
        first.terminate()
        assert first.wait(20) == 0
        assert time.monotonic() - asked < 10
        stored = balance(platform.data).total.stored
        assert 0 < stored < 4 * 3600

        # A lease lasts 60 s; whoever waited for one to end would find nothing for 2 s and stop.
        assert platform.run("ingest", "--drain", "2") == 0
        ledger = balance(platform.data, platform.data.truth)
        assert ledger.problems == []
        assert (ledger.total.stored, ledger.total.duplicates) == (4 * 3600, 0)
        assert platform.log().count("ingest stopped:") == 2


DEADLINE_S = 4
BATCH_S = 9.0
MESSAGES = 30


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of a server that allows, and a client that asks for, leases of `DEADLINE_S`."""
    monkeypatch.setattr(limits, "MIN_ACK_DEADLINE_S", 1)
    monkeypatch.setattr(source, "ACK_DEADLINE_S", DEADLINE_S)
    monkeypatch.setattr(intake, "_EXTEND_AFTER_S", DEADLINE_S / 3)
    with PubSubServer(tmp_path / "pubsub", port=0) as server:
        yield Settings(pubsub_emulator_host=server.endpoint, data_dir=tmp_path / "data")


def publish(settings: Settings) -> None:
    channel = grpc.insecure_channel(settings.emulator_host)
    client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    rows = [
        f'{{"event_ts":"2026-03-01T14:00:{number:02}Z","meter_id":"m1","pole_id":"p1",'
        f'"seq":{number},"voltage_v":240,"current_a":5,"power_kw":1.2}}'
        for number in range(MESSAGES)
    ]
    client.publish(
        topic=f"projects/{settings.project_id}/topics/{settings.pubsub_topic}",
        messages=[{"data": row.encode()} for row in rows],
        retry=None,
    )
    channel.close()


def ingest_slowly(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """Ingest all messages as one batch that takes `BATCH_S`; gives what another client got."""
    at_work, done = threading.Event(), threading.Event()
    original = LocalStore.store
    stolen: set[str] = set()

    def slow(self: LocalStore, batch: MessageBatch) -> RunMetrics:
        assert len(batch.messages) == MESSAGES
        at_work.set()
        time.sleep(BATCH_S)
        return original(self, batch)

    def rival() -> None:
        at_work.wait(30)
        other = open_source(settings)
        while not done.is_set():
            stolen.update(item.message.message_id for item in other.pull(1000, 0.5))
        other.close()

    monkeypatch.setattr(LocalStore, "store", slow)
    own = open_source(settings)
    publish(settings)
    thread = threading.Thread(target=rival)
    thread.start()
    try:
        totals = ingest(
            settings.data,
            own,
            Limits(MESSAGES, 1_000_000, 5.0),
            PayloadBounds(1_000_000, 1_000_000),
            stop=threading.Event(),
            now=lambda: datetime(2026, 3, 1, 15, tzinfo=UTC),
            clock=time.monotonic,
            idle_timeout_s=1.0,
        )
    finally:
        done.set()
        thread.join()
        own.close()
    assert totals.counters["stored"] == MESSAGES
    assert totals.batches == 1
    return len(stolen)


def test_a_batch_that_takes_longer_than_the_deadline_is_not_delivered_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ingest_slowly(settings, monkeypatch) == 0
    total = balance(settings.data).total
    assert (total.stored, total.duplicates) == (MESSAGES, 0)
