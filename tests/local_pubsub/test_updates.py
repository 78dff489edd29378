"""Reads updates, detachments and seeks of Google's own client; gives the service's answers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.protobuf import duration_pb2
from google.pubsub_v1 import types as pubsub

from local_pubsub.broker import Broker
from local_pubsub.journal import DATABASE_FILE
from local_pubsub.leases import Consumer

from .conftest import PROJECT, Lab
from .test_streaming import RawStream, eventually, open_stream  # noqa: F401

DAY_S = 24 * 3600


def update(lab: Lab, *paths: str, **fields: object) -> pubsub.Subscription:
    return lab.subscriber.update_subscription(
        request={
            "subscription": {"name": lab.subscription, **fields},
            "update_mask": {"paths": paths},
        }
    )


def seek(lab: Lab, time: datetime) -> None:
    lab.subscriber.seek(request={"subscription": lab.subscription, "time": time})


def test_a_topic_update_changes_what_the_mask_names(lab: Lab) -> None:
    lab.publisher.create_topic(request={"name": lab.topic, "labels": {"env": "lab"}})
    request = {"topic": {"name": lab.topic, "labels": {"team": "grid"}}}
    changed = lab.publisher.update_topic(request={**request, "update_mask": {"paths": ["labels"]}})
    assert dict(changed.labels) == {"team": "grid"}
    assert dict(lab.publisher.get_topic(topic=lab.topic).labels) == {"team": "grid"}
    for paths, reason in [
        ([], "non-empty paths list"),
        (["name"], "'name' field in the Topic is not mutable"),
        (["labelz"], "'labelz' is not a known Topic field"),
    ]:
        with pytest.raises(exceptions.InvalidArgument, match=reason):
            lab.publisher.update_topic(request={**request, "update_mask": {"paths": paths}})
    with pytest.raises(exceptions.MethodNotImplemented, match="kms_key_name"):
        lab.publisher.update_topic(
            request={
                "topic": {"name": lab.topic, "kms_key_name": "k"},
                "update_mask": {"paths": ["kms_key_name"]},
            }
        )
    with pytest.raises(exceptions.NotFound, match="nowhere"):
        lab.publisher.update_topic(
            request={
                "topic": {"name": lab.topic.replace("readings", "nowhere")},
                "update_mask": {"paths": ["labels"]},
            }
        )


def test_a_subscription_update_changes_what_the_mask_names_and_lasts(lab: Lab) -> None:
    lab.create()
    before = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert before.message_retention_duration == timedelta(days=7)
    changed = update(
        lab,
        "ack_deadline_seconds",
        "message_retention_duration",
        "retry_policy.maximum_backoff",
        "retain_acked_messages",
        ack_deadline_seconds=60,
        message_retention_duration=duration_pb2.Duration(seconds=DAY_S),
        retain_acked_messages=True,
        retry_policy={
            "minimum_backoff": duration_pb2.Duration(seconds=1),
            "maximum_backoff": duration_pb2.Duration(seconds=30),
        },
        labels={"not": "in the mask"},
    )
    shown = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert shown == changed
    assert (shown.ack_deadline_seconds, shown.retain_acked_messages) == (60, True)
    assert shown.message_retention_duration == timedelta(days=1)
    # The minimum was outside the mask: its default stands.
    assert shown.retry_policy.minimum_backoff == timedelta(seconds=10)
    assert shown.retry_policy.maximum_backoff == timedelta(seconds=30)
    assert dict(shown.labels) == {}
    assert "retry_policy" not in update(lab, "retry_policy")
    # Unset in the request but in the mask: back to the default.
    assert update(lab, "ack_deadline_seconds").ack_deadline_seconds == 10


def test_a_new_ack_deadline_rules_the_next_pull(lab: Lab) -> None:
    lab.create()
    update(lab, "ack_deadline_seconds", ack_deadline_seconds=600)
    lab.publish(b"x")
    lab.pull()
    queue = lab.server._broker.subscription(lab.subscription).queue
    (lease,) = queue._outstanding.values()
    assert 590 < lease.deadline_s - time.monotonic() <= 600


@pytest.mark.parametrize(
    ("paths", "fields", "reason"),
    [
        ([], {}, "non-empty paths list"),
        (["ackDeadlineSeconds"], {}, "not a known Subscription field"),
        (["retry_policy.most"], {}, "'retry_policy.most' is not a known"),
        (["topic"], {"topic": "x"}, "'topic' field in the Subscription is not mutable"),
        (["filter"], {"filter": "attributes:x"}, "'filter' field"),
        (["detached"], {"detached": True}, "'detached' field"),
        (["enable_message_ordering"], {"enable_message_ordering": True}, "not mutable"),
        (["ack_deadline_seconds"], {"ack_deadline_seconds": 9}, "ack_deadline_secs=9"),
        (
            ["message_retention_duration"],
            {"message_retention_duration": duration_pb2.Duration(seconds=599)},
            "599",
        ),
        (
            ["message_retention_duration"],
            {"message_retention_duration": duration_pb2.Duration(seconds=31 * DAY_S + 1)},
            "message_retention_duration",
        ),
    ],
)
def test_a_bad_update_is_refused_and_changes_nothing(
    lab: Lab, paths: list[str], fields: dict, reason: str
) -> None:
    lab.create()
    before = lab.subscriber.get_subscription(subscription=lab.subscription)
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        update(lab, "labels", *paths, labels={"a": "b"}, **fields) if paths else update(lab)
    assert lab.subscriber.get_subscription(subscription=lab.subscription) == before


def test_an_update_to_what_is_not_offered_is_unimplemented_by_name(lab: Lab) -> None:
    lab.create()
    with pytest.raises(exceptions.MethodNotImplemented, match="enable_exactly_once_delivery"):
        update(lab, "enable_exactly_once_delivery", enable_exactly_once_delivery=True)
    update(lab, "enable_exactly_once_delivery", enable_exactly_once_delivery=False)
    with pytest.raises(exceptions.NotFound, match="topics/nowhere"):
        update(
            lab,
            "dead_letter_policy",
            dead_letter_policy={"dead_letter_topic": f"projects/{PROJECT}/topics/nowhere"},
        )


def test_a_detached_subscription_drops_all_and_refuses_to_deliver(
    lab: Lab,
    open_stream: Callable[..., RawStream],  # noqa: F811
) -> None:
    stream = open_stream()
    lab.publish(b"received")
    stream.receive(1)
    lab.publisher.detach_subscription(request={"subscription": lab.subscription})
    code, details = stream.status()
    assert (code.name, "detached" in details) == ("FAILED_PRECONDITION", True)
    for refused in (lab.pull, lambda: seek(lab, datetime.now(UTC))):
        with pytest.raises(exceptions.FailedPrecondition, match="detached"):
            refused()
    shown = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert (shown.detached, shown.topic) == (True, lab.topic)
    assert list(lab.publisher.list_topic_subscriptions(topic=lab.topic)) == []
    lab.publish(b"not for it")
    assert lab.server.counters().subscriptions[lab.subscription].backlog == 0
    lab.subscriber.delete_subscription(subscription=lab.subscription)


def test_detaching_lasts_and_frees_the_disk(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.create_topic("t", b"")
    broker.create_subscription("s", "t", b"")
    broker.publish("t", [b"a", b"b"])
    detached = pubsub.Subscription.serialize(pubsub.Subscription(detached=True))
    broker.detach_subscription("s", lambda _config: detached)
    broker.publish("t", [b"c"])
    journal = sqlite3.connect(tmp_path / DATABASE_FILE)
    assert eventually(lambda: journal.execute("SELECT count(*) FROM messages").fetchone() == (0,))
    journal.close()
    broker.close()
    again = Broker(tmp_path)
    assert again.subscription("s").topic is None
    assert again.counters().subscriptions["s"].backlog == 0
    again.close()


def test_a_seek_to_now_drops_the_backlog_and_what_is_leased(lab: Lab) -> None:
    lab.create()
    lab.publish(b"leased", b"waiting")
    leased = lab.pull(max_messages=1)
    seek(lab, datetime.now(UTC) + timedelta(seconds=1))
    lab.publish(b"new")
    assert [entry.message.data for entry in lab.pull()] == [b"new"]
    # The old lease is worth nothing, but its ack is no error.
    lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[leased[0].ack_id])
    assert lab.server.counters().subscriptions[lab.subscription].backlog == 1


def test_a_seek_back_replays_retained_messages_from_that_time_on(lab: Lab) -> None:
    lab.create()
    update(lab, "retain_acked_messages", retain_acked_messages=True)
    lab.publish(b"early")
    time.sleep(0.01)
    middle = datetime.now(UTC)
    lab.publish(b"late")
    lab.publish(b"open")
    received = lab.pull()
    lab.subscriber.acknowledge(
        subscription=lab.subscription, ack_ids=[entry.ack_id for entry in received[:2]]
    )
    seek(lab, middle)
    replayed = lab.pull()
    assert [entry.message.data for entry in replayed] == [b"late", b"open"]
    seek(lab, datetime.fromtimestamp(0, UTC))
    assert [entry.message.data for entry in lab.pull()] == [b"early", b"late", b"open"]


def test_a_seek_back_without_retained_messages_replays_only_what_is_open(lab: Lab) -> None:
    lab.create()
    lab.publish(b"acked", b"open")
    acked, _ = lab.pull()
    lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[acked.ack_id])
    seek(lab, datetime.fromtimestamp(0, UTC))
    assert [entry.message.data for entry in lab.pull()] == [b"open"]


def test_a_seek_to_a_snapshot_or_nowhere_is_refused(lab: Lab) -> None:
    lab.create()
    with pytest.raises(exceptions.MethodNotImplemented, match="snapshot"):
        lab.subscriber.seek(
            request={
                "subscription": lab.subscription,
                "snapshot": f"projects/{PROJECT}/snapshots/sss",
            }
        )
    with pytest.raises(exceptions.InvalidArgument, match="time"):
        lab.subscriber.seek(request={"subscription": lab.subscription})
    with pytest.raises(exceptions.MethodNotImplemented, match="ListSnapshots"):
        list(lab.subscriber.list_snapshots(project=f"projects/{PROJECT}"))


class Ages:
    """A broker over one topic and subscription, whose wall clock is set by hand."""

    def __init__(self, directory: Path, **fields: object) -> None:
        self.now_s = 1_000_000.0
        self.directory = directory
        self.broker = Broker(directory, wall_clock_us=lambda: int(self.now_s * 1e6))
        self.broker.create_topic("t", b"")
        config = pubsub.Subscription.serialize(pubsub.Subscription(**fields))
        self.broker.create_subscription("s", "t", config)
        self.subscription = self.broker.subscription("s")

    def take(self, count: int = 1000) -> dict[bytes, str]:
        taken = self.broker.pull(self.subscription, Consumer(), count, 1 << 20, lambda: 10, 0)
        return {each.stored.payload: each.ack_id for each in taken}

    def stored(self) -> list[bytes]:
        with sqlite3.connect(self.directory / DATABASE_FILE) as other:
            return [row[0] for row in other.execute("SELECT payload FROM messages ORDER BY 1")]


def test_messages_older_than_the_retention_are_dropped(tmp_path: Path) -> None:
    hour = duration_pb2.Duration(seconds=3600)
    ages = Ages(tmp_path, message_retention_duration=hour)
    broker, start_s = ages.broker, ages.now_s
    broker.publish("t", [b"leased", b"returned", b"fresh"])
    taken = ages.take(2)
    ages.subscription.queue.modify([(taken[b"returned"], 0)])
    ages.now_s = start_s + 1800
    broker.publish("t", [b"young"])
    ages.now_s = start_s + 3600
    broker.drop_expired(ages.subscription)
    assert broker.counters().subscriptions["s"].backlog == 4
    ages.now_s = start_s + 3601
    broker.drop_expired(ages.subscription)
    assert broker.counters().subscriptions["s"].backlog == 1
    assert ages.stored() == [b"young"]
    assert list(ages.take()) == [b"young"]
    broker.acknowledge(ages.subscription, [taken[b"leased"]])
    broker.close()


def test_the_default_retention_is_seven_days(tmp_path: Path) -> None:
    ages = Ages(tmp_path)
    ages.broker.publish("t", [b"x"])
    ages.now_s += 7 * DAY_S
    ages.broker.drop_expired(ages.subscription)
    assert ages.stored() == [b"x"]
    ages.now_s += 1
    ages.broker.drop_expired(ages.subscription)
    assert ages.stored() == []
    ages.broker.close()


def test_retained_messages_go_with_age_or_when_they_are_no_longer_wanted(tmp_path: Path) -> None:
    ages = Ages(tmp_path, retain_acked_messages=True)
    broker = ages.broker
    broker.publish("t", [b"old"])
    ages.now_s += 6 * DAY_S
    broker.publish("t", [b"new"])
    broker.acknowledge(ages.subscription, list(ages.take().values()))
    time.sleep(0.3)
    assert ages.stored() == [b"new", b"old"]
    ages.now_s += 2 * DAY_S
    broker.drop_expired(ages.subscription)
    assert ages.stored() == [b"new"]
    broker.update_subscription("s", lambda _config: b"")
    broker.drop_expired(ages.subscription)
    assert ages.stored() == []
    broker.close()


def test_expiry_far_into_a_backlog_on_disk_leaves_the_younger_part(tmp_path: Path) -> None:
    ages = Ages(tmp_path)
    for _ in range(25):
        ages.broker.publish("t", [b"old"] * 1000)
    ages.now_s += 8 * DAY_S
    ages.broker.publish("t", [b"%d" % number for number in range(3)])
    assert len(ages.take(10)) == 1
    ages.broker.drop_expired(ages.subscription)
    assert ages.broker.counters().subscriptions["s"].backlog == 3
    assert list(ages.take()) == [b"0", b"1", b"2"]
    ages.broker.close()


def test_a_message_gone_from_the_disk_is_not_leased_over_and_over(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cache_bytes=0)
    broker.create_topic("t", b"")
    broker.create_subscription("s", "t", b"")
    broker.publish("t", [b"gone", b"there"])
    with sqlite3.connect(tmp_path / DATABASE_FILE) as other:
        other.execute("DELETE FROM messages WHERE message_id = 1")
    subscription = broker.subscription("s")
    taken = broker.pull(subscription, Consumer(), 10, 1 << 20, lambda: 10, 0)
    assert [each.stored.payload for each in taken] == [b"there"]
    assert broker.counters().subscriptions["s"].backlog == 1
    broker.close()
