"""Reads failing deliveries of Google's own client; gives attempts, backoff and dead letters."""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2
from google.pubsub_v1 import types as pubsub

from local_pubsub.broker import Broker
from local_pubsub.leases import Consumer

from .conftest import PROJECT, Lab
from .test_durability import lab_at, served
from .test_streaming import eventually

DEAD_TOPIC = f"projects/{PROJECT}/topics/dead-letter"
DEAD_SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/dead-letter-sub"
POLICY = {"dead_letter_topic": DEAD_TOPIC, "max_delivery_attempts": 5}


def create(lab: Lab, **fields: object) -> None:
    """The lab's topic and subscription, and a dead-letter topic with a subscription."""
    lab.publisher.create_topic(name=lab.topic)
    lab.publisher.create_topic(name=DEAD_TOPIC)
    lab.subscriber.create_subscription(name=DEAD_SUBSCRIPTION, topic=DEAD_TOPIC)
    lab.subscriber.create_subscription(
        request={
            "name": lab.subscription,
            "topic": lab.topic,
            "dead_letter_policy": POLICY,
            **fields,
        }
    )


def nack(lab: Lab, received: list) -> None:
    lab.subscriber.modify_ack_deadline(
        subscription=lab.subscription,
        ack_ids=[entry.ack_id for entry in received],
        ack_deadline_seconds=0,
    )


def dead_letters(lab: Lab) -> list:
    response = lab.subscriber.pull(subscription=DEAD_SUBSCRIPTION, max_messages=1000, timeout=3)
    return list(response.received_messages)


def test_a_message_goes_to_the_dead_letter_topic_after_its_last_attempt(lab: Lab) -> None:
    create(lab)
    lab.publish_messages([{"data": b"poison", "attributes": {"k": "v"}, "ordering_key": "m1"}])
    attempts = []
    for _ in range(5):
        received = lab.pull()
        attempts += [entry.delivery_attempt for entry in received]
        nack(lab, received)
    (dead,) = dead_letters(lab)
    assert attempts == [1, 2, 3, 4, 5]
    assert lab.pull_now() == []
    assert lab.server.counters().subscriptions[lab.subscription].backlog == 0
    assert (dead.message.data, dead.message.ordering_key) == (b"poison", "m1")
    assert dead.message.message_id != received[0].message.message_id
    attributes = dict(dead.message.attributes)
    published = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert attributes == {
        "k": "v",
        "CloudPubSubDeadLetterSourceSubscription": "readings-sub",
        "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", published)
    early = received[0].message.publish_time - datetime.fromisoformat(published)
    assert 0 <= early.total_seconds() < 0.001
    # The dead-letter subscription has no policy of its own.
    assert dead.delivery_attempt == 0


def test_passed_deadlines_count_as_attempts_even_if_nobody_pulls_any_more(lab: Lab) -> None:
    create(lab)
    lab.publish(b"poison")
    for _ in range(4):
        nack(lab, lab.pull())
    (last,) = lab.pull()
    lab.subscriber.modify_ack_deadline(
        subscription=lab.subscription, ack_ids=[last.ack_id], ack_deadline_seconds=1
    )
    (dead,) = dead_letters(lab)
    assert dead.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


def test_an_ack_on_the_last_attempt_keeps_the_message_out_of_the_dead_letters(lab: Lab) -> None:
    create(lab)
    lab.publish(b"good in the end")
    for _ in range(4):
        nack(lab, lab.pull())
    (last,) = lab.pull()
    lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[last.ack_id])
    nack(lab, [last])
    lab.publish(b"sentinel")
    assert [entry.message.data for entry in lab.pull()] == [b"sentinel"]
    assert lab.server.counters().subscriptions[DEAD_SUBSCRIPTION].backlog == 0


def test_the_streaming_client_sees_attempts_and_dead_letters_what_it_nacks(lab: Lab) -> None:
    create(lab)
    attempts: list[int | None] = []

    def refuse(message: pubsub_v1.subscriber.message.Message) -> None:
        attempts.append(message.delivery_attempt)
        message.nack()

    future = lab.subscriber.subscribe(lab.subscription, refuse)
    lab.publish(b"poison")
    (dead,) = dead_letters(lab)
    future.cancel()
    future.result(timeout=5)
    assert attempts == [1, 2, 3, 4, 5]
    assert dead.message.data == b"poison"


def test_without_a_policy_there_is_no_attempt_and_no_end(lab: Lab) -> None:
    lab.create()
    lab.publish(b"again and again")
    for _ in range(7):
        (received,) = lab.pull()
        assert received.delivery_attempt == 0
        nack(lab, [received])
    assert len(lab.pull()) == 1


def test_a_missing_dead_letter_topic_keeps_the_message_in_delivery(lab: Lab) -> None:
    create(lab)
    lab.publisher.delete_topic(topic=DEAD_TOPIC)
    shown = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert shown.dead_letter_policy.dead_letter_topic == "_deleted-topic_"
    lab.publish(b"poison")
    attempts = []
    for _ in range(7):
        (received,) = lab.pull()
        attempts.append(received.delivery_attempt)
        nack(lab, [received])
    assert attempts == [1, 2, 3, 4, 5, 6, 7]


def test_a_policy_needs_its_topic_and_a_sensible_number(lab: Lab) -> None:
    lab.publisher.create_topic(name=lab.topic)

    def create_with(policy: dict) -> pubsub.Subscription:
        return lab.subscriber.create_subscription(
            request={"name": lab.subscription, "topic": lab.topic, "dead_letter_policy": policy}
        )

    with pytest.raises(exceptions.NotFound, match=DEAD_TOPIC):
        create_with(POLICY)
    with pytest.raises(exceptions.InvalidArgument, match="topic name"):
        create_with({"max_delivery_attempts": 5})
    lab.publisher.create_topic(name=DEAD_TOPIC)
    for attempts in (-1, 4, 101):
        with pytest.raises(exceptions.InvalidArgument, match=f"max_delivery_attempts.*{attempts}"):
            create_with({**POLICY, "max_delivery_attempts": attempts})
    made = create_with({"dead_letter_topic": DEAD_TOPIC})
    assert made.dead_letter_policy.max_delivery_attempts == 5


def test_backoff_doubles_from_the_minimum_to_the_maximum(lab: Lab) -> None:
    milliseconds = duration_pb2.Duration
    create(
        lab,
        retry_policy={
            "minimum_backoff": milliseconds(nanos=200_000_000),
            "maximum_backoff": milliseconds(nanos=500_000_000),
        },
    )
    lab.publish(b"again")
    pauses_s = []
    received = lab.pull()
    for _ in range(3):
        nack(lab, received)
        refused_s = time.monotonic()
        assert lab.pull_now() == []
        received = lab.pull()
        pauses_s.append(time.monotonic() - refused_s)
    for pause_s, wanted_s in zip(pauses_s, [0.2, 0.4, 0.5], strict=True):
        assert wanted_s - 0.01 <= pause_s < wanted_s + 0.3
    nack(lab, received)
    # An ack that comes during the backoff still counts.
    lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[received[0].ack_id])
    assert lab.server.counters().subscriptions[lab.subscription].backlog == 0


@pytest.mark.parametrize(
    ("policy", "shown_s"),
    [
        ({}, (10, 600)),
        ({"minimum_backoff": duration_pb2.Duration(seconds=600)}, (600, 600)),
        ({"minimum_backoff": duration_pb2.Duration(seconds=601)}, None),
        ({"maximum_backoff": duration_pb2.Duration(seconds=601)}, None),
        ({"maximum_backoff": duration_pb2.Duration(seconds=9)}, None),
        ({"minimum_backoff": duration_pb2.Duration(seconds=-1)}, None),
    ],
)
def test_a_retry_policy_is_completed_or_refused(
    lab: Lab, policy: dict, shown_s: tuple[int, int] | None
) -> None:
    lab.publisher.create_topic(name=lab.topic)
    request = {"name": lab.subscription, "topic": lab.topic, "retry_policy": policy}
    if shown_s is None:
        with pytest.raises(exceptions.InvalidArgument, match="retry_policy"):
            lab.subscriber.create_subscription(request=request)
    else:
        shown = lab.subscriber.create_subscription(request=request).retry_policy
        assert (shown.minimum_backoff.seconds, shown.maximum_backoff.seconds) == shown_s


def _config(**fields: object) -> bytes:
    return pubsub.Subscription.serialize(pubsub.Subscription(**fields))


def test_attempts_survive_a_restart(tmp_path: Path) -> None:
    source = f"projects/{PROJECT}/subscriptions/source"

    def fail(broker: Broker) -> int:
        subscription = broker.subscription(source)
        (taken,) = broker.pull(subscription, Consumer(), 1, 1 << 20, lambda: 10, 5)
        subscription.queue.modify([(taken.ack_id, 0)])
        return taken.delivery_attempt

    broker = Broker(tmp_path)
    for topic in ("t", DEAD_TOPIC):
        broker.create_topic(topic, b"")
    broker.create_subscription(source, "t", _config(dead_letter_policy=POLICY))
    broker.create_subscription(DEAD_SUBSCRIPTION, DEAD_TOPIC, b"")
    broker.publish("t", [b""])
    assert [fail(broker), fail(broker), fail(broker)] == [1, 2, 3]
    broker.close()
    broker = Broker(tmp_path)
    assert fail(broker) == 4
    broker.close()
    broker = Broker(tmp_path)
    assert fail(broker) == 5
    dead = broker.subscription(DEAD_SUBSCRIPTION)
    assert len(broker.pull(dead, Consumer(), 1, 1 << 20, lambda: 10, 5)) == 1
    assert broker.counters().subscriptions[source].backlog == 0
    broker.close()


def test_a_dead_letter_that_cannot_be_written_stays_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(tmp_path, upkeep_interval_s=0.05)
    for topic in ("t", DEAD_TOPIC):
        broker.create_topic(topic, b"")
    source = f"projects/{PROJECT}/subscriptions/source"
    policy = {**POLICY, "max_delivery_attempts": 1}
    broker.create_subscription(source, "t", _config(dead_letter_policy=policy))
    broker.create_subscription(DEAD_SUBSCRIPTION, DEAD_TOPIC, b"")
    broker.publish("t", [b""])

    def refuse(*_args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(broker._journal, "append", refuse)
    subscription = broker.subscription(source)
    (taken,) = broker.pull(subscription, Consumer(), 1, 1 << 20, lambda: 10, 5)
    subscription.queue.modify([(taken.ack_id, 0)])
    time.sleep(0.2)
    assert broker._journal.open_deliveries(subscription.queue.subscription_id) == 1
    monkeypatch.undo()
    dead = broker.subscription(DEAD_SUBSCRIPTION)
    assert len(broker.pull(dead, Consumer(), 1, 1 << 20, lambda: 10, 5)) == 1
    assert broker._journal.open_deliveries(subscription.queue.subscription_id) == 0
    broker.close()


def test_kill_9_while_dead_lettering_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = {b"%d" % number for number in range(600)}
    for run in range(4):
        with served(tmp_path) as (process, endpoint):
            lab = lab_at(endpoint, monkeypatch)
            if run == 0:
                create(lab)
                lab.publish(*bodies)
            give_up_s = time.monotonic() + 0.4
            while time.monotonic() < give_up_s:
                received = lab.pull_now(max_messages=50)
                if received:
                    nack(lab, received)
            process.send_signal(signal.SIGKILL)
            lab.subscriber.close()
    with served(tmp_path) as (process, endpoint):
        lab = lab_at(endpoint, monkeypatch)
        found: Counter[bytes] = Counter()
        dead = 0
        for subscription in (lab.subscription, DEAD_SUBSCRIPTION):
            lab.subscription = subscription
            while received := lab.pull_now():
                found.update(entry.message.data for entry in received)
                dead += len(received) if subscription == DEAD_SUBSCRIPTION else 0
                lab.subscriber.acknowledge(
                    subscription=subscription, ack_ids=[entry.ack_id for entry in received]
                )
        assert dead > 0
        assert found == Counter(dict.fromkeys(bodies, 1))
        lab.subscriber.close()


def test_undelivered_answers_do_not_count_as_attempts(lab: Lab) -> None:
    create(lab)
    lab.publish(b"x")
    call = lab.subscriber.transport.grpc_channel.unary_unary(
        "/google.pubsub.v1.Subscriber/Pull",
        request_serializer=pubsub.PullRequest.serialize,
        response_deserializer=pubsub.PullResponse.deserialize,
    )
    queue = lab.server._broker.subscription(lab.subscription).queue
    taken = queue.take(Consumer(), 1, 1 << 20, 10)
    queue.release([taken[0].ack_id])
    response = call(pubsub.PullRequest(subscription=lab.subscription, max_messages=1))
    assert [entry.delivery_attempt for entry in response.received_messages] == [1]


def test_a_policy_taken_away_frees_what_waited_for_it(lab: Lab) -> None:
    create(lab)
    lab.publish(b"x")
    nack(lab, lab.pull())
    lab.subscriber.update_subscription(
        request={
            "subscription": {"name": lab.subscription},
            "update_mask": {
                "paths": [
                    "dead_letter_policy.dead_letter_topic",
                    "dead_letter_policy.max_delivery_attempts",
                ]
            },
        }
    )
    shown = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert "dead_letter_policy" not in shown
    for _ in range(6):
        received = lab.pull()
        assert [entry.delivery_attempt for entry in received] == [0]
        nack(lab, received)
    assert eventually(lambda: len(lab.pull_now()) == 1)
