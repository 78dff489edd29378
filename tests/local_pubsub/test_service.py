"""Reads Google's own client's calls; gives the answers and error codes of the real service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import resources

import grpc
import pytest
from google.api_core import exceptions
from google.protobuf import duration_pb2
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1 import types as pubsub
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local_pubsub.server import PubSubServer

from .conftest import PROJECT, Lab


def test_topics_are_created_shown_listed_and_deleted(lab: Lab) -> None:
    made = lab.publisher.create_topic(request={"name": lab.topic, "labels": {"env": "lab"}})
    assert (made.name, dict(made.labels)) == (lab.topic, {"env": "lab"})
    shown = lab.publisher.get_topic(topic=lab.topic)
    assert (shown.name, dict(shown.labels)) == (lab.topic, {"env": "lab"})
    assert shown.state == pubsub.Topic.State.ACTIVE
    lab.publisher.create_topic(name="projects/elsewhere/topics/readings")
    listed = lab.publisher.list_topics(project=f"projects/{PROJECT}")
    assert [topic.name for topic in listed] == [lab.topic]
    lab.publisher.delete_topic(topic=lab.topic)
    with pytest.raises(exceptions.NotFound, match=lab.topic):
        lab.publisher.get_topic(topic=lab.topic)


def test_subscriptions_are_created_shown_listed_and_deleted(lab: Lab) -> None:
    lab.create()
    shown = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert (shown.name, shown.topic, shown.ack_deadline_seconds) == (
        lab.subscription,
        lab.topic,
        10,
    )
    assert shown.state == pubsub.Subscription.State.ACTIVE
    second = lab.subscription + "-2"
    lab.subscriber.create_subscription(
        request={
            "name": second,
            "topic": lab.topic,
            "ack_deadline_seconds": 600,
            "labels": {"env": "lab"},
        }
    )
    shown = lab.subscriber.get_subscription(subscription=second)
    assert (shown.ack_deadline_seconds, dict(shown.labels)) == (600, {"env": "lab"})
    listed = lab.subscriber.list_subscriptions(project=f"projects/{PROJECT}")
    assert [subscription.name for subscription in listed] == [lab.subscription, second]
    assert list(lab.publisher.list_topic_subscriptions(topic=lab.topic)) == [
        lab.subscription,
        second,
    ]
    lab.subscriber.delete_subscription(subscription=lab.subscription)
    assert list(lab.publisher.list_topic_subscriptions(topic=lab.topic)) == [second]
    with pytest.raises(exceptions.NotFound, match=lab.subscription):
        lab.subscriber.get_subscription(subscription=lab.subscription)


def test_lists_come_in_pages(lab: Lab) -> None:
    topics = [f"projects/{PROJECT}/topics/topic-{number}" for number in range(5)]
    for topic in topics:
        lab.publisher.create_topic(name=topic)
    request = {"project": f"projects/{PROJECT}", "page_size": 2}
    pages = [
        [topic.name for topic in page.topics]
        for page in lab.publisher.list_topics(request=request).pages
    ]
    assert pages == [topics[:2], topics[2:4], topics[4:]]
    with pytest.raises(exceptions.InvalidArgument, match="page_token"):
        lab.publisher.list_topics(request={**request, "page_token": "not a token"})


def test_a_message_comes_back_as_it_was_published(lab: Lab) -> None:
    lab.create()
    before = datetime.now(UTC)
    message_id = lab.publish_messages(
        [
            {
                "data": b"\x00\xff reading",
                "attributes": {"batch_id": "b1", "größe": "é"},
                "ordering_key": "meter-1",
                "message_id": "chosen by the client",
            }
        ]
    )[0]
    (received,) = lab.pull()
    message = received.message
    assert message.data == b"\x00\xff reading"
    assert dict(message.attributes) == {"batch_id": "b1", "größe": "é"}
    assert message.ordering_key == "meter-1"
    assert message.message_id == message_id != "chosen by the client"
    assert before - timedelta(seconds=1) <= message.publish_time <= datetime.now(UTC)


def test_the_batching_client_gets_an_id_for_each_message_and_all_arrive(lab: Lab) -> None:
    lab.create()
    futures = [lab.publisher.publish(lab.topic, b"%d" % number) for number in range(500)]
    ids = [future.result(timeout=5) for future in futures]
    received = lab.pull()
    assert len(set(ids)) == 500
    assert {entry.message.message_id: entry.message.data for entry in received} == {
        message_id: b"%d" % number for number, message_id in enumerate(ids)
    }


def test_every_subscription_gets_every_message_and_only_from_its_creation_on(lab: Lab) -> None:
    lab.create()
    lab.publish(b"first")
    late = lab.subscription + "-late"
    lab.subscriber.create_subscription(name=late, topic=lab.topic)
    lab.publish(b"second")
    assert [entry.message.data for entry in lab.pull()] == [b"first", b"second"]
    pulled = lab.subscriber.pull(subscription=late, max_messages=10, timeout=5)
    assert [entry.message.data for entry in pulled.received_messages] == [b"second"]


def test_a_topic_without_subscription_drops_its_messages(lab: Lab) -> None:
    lab.publisher.create_topic(name=lab.topic)
    (dropped,) = lab.publish(b"dropped")
    lab.subscriber.create_subscription(name=lab.subscription, topic=lab.topic)
    assert lab.pull_now() == []
    (kept,) = lab.publish(b"kept")
    assert int(kept) > int(dropped)


def test_an_acknowledged_message_is_gone_and_a_second_ack_is_harmless(lab: Lab) -> None:
    lab.create()
    lab.publish(b"one", b"two")
    one, two = lab.pull()
    for _ in range(2):
        lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[one.ack_id])
    lab.subscriber.modify_ack_deadline(
        subscription=lab.subscription, ack_ids=[one.ack_id, two.ack_id], ack_deadline_seconds=0
    )
    assert [entry.message.data for entry in lab.pull()] == [b"two"]


def test_a_nack_redelivers_at_once_under_a_new_ack_id(lab: Lab) -> None:
    lab.create()
    lab.publish(b"again")
    (first,) = lab.pull()
    assert lab.pull_now() == []
    lab.subscriber.modify_ack_deadline(
        subscription=lab.subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0
    )
    (second,) = lab.pull_now()
    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id


def test_a_waiting_pull_gets_a_message_again_when_its_deadline_has_passed(lab: Lab) -> None:
    lab.create()
    lab.publish(b"again")
    (first,) = lab.pull()
    lab.subscriber.modify_ack_deadline(
        subscription=lab.subscription, ack_ids=[first.ack_id], ack_deadline_seconds=1
    )
    assert lab.pull_now() == []
    (second,) = lab.pull(timeout=5)
    assert second.message.message_id == first.message.message_id


def test_a_pull_answers_empty_before_its_client_gives_up(lab: Lab) -> None:
    lab.create()
    assert lab.pull(timeout=0.6) == []


def test_a_message_is_not_leased_to_a_pull_whose_client_has_gone(lab: Lab) -> None:
    lab.create()
    call = lab.subscriber.transport.grpc_channel.unary_unary(
        "/google.pubsub.v1.Subscriber/Pull",
        request_serializer=pubsub.PullRequest.serialize,
        response_deserializer=pubsub.PullResponse.deserialize,
    ).future(pubsub.PullRequest(subscription=lab.subscription, max_messages=1))
    with pytest.raises(grpc.FutureTimeoutError):
        call.result(timeout=0.3)
    call.cancel()
    # The cancellation travels behind the publish only if it is not given a moment.
    lab.pull_now()
    lab.publish(b"for the living")
    assert [entry.message.data for entry in lab.pull(timeout=2)] == [b"for the living"]


def test_pull_keeps_to_max_messages(lab: Lab) -> None:
    lab.create()
    lab.publish(*[b"x"] * 5)
    assert len(lab.pull(max_messages=3)) == 3
    assert len(lab.pull(max_messages=3)) == 2


def test_pulls_stay_within_what_googles_client_takes(lab: Lab) -> None:
    lab.create()
    bodies = [bytes([number]) * 1_500_000 for number in range(5)]
    for body in bodies:
        lab.publish(body)
    sizes = []
    seen = []
    while len(seen) < 5:
        received = lab.pull()
        sizes.append(len(received))
        seen += [entry.message.data for entry in received]
    assert sizes == [2, 2, 1]
    assert seen == bodies


def test_small_messages_with_their_framing_stay_within_what_googles_client_takes(
    lab: Lab,
) -> None:
    lab.create()
    for _ in range(5):
        lab.publish_messages([{"data": b"x" * 3600}] * 1000)
    seen = 0
    while seen < 5000:
        seen += len(lab.pull())
    assert seen == 5000


def test_the_largest_publish_the_client_makes_passes_whole(lab: Lab) -> None:
    lab.create()
    # With the topic name and the framing this request has 10 000 000 bytes.
    body = bytes(range(256)) * 39_062
    room = (
        10_000_000
        - pubsub.PublishRequest.pb(
            pubsub.PublishRequest(topic=lab.topic, messages=[{"data": body}])
        ).ByteSize()
    )
    body += b"x" * room
    lab.publish(body)
    with pytest.raises(exceptions.InvalidArgument, match="10000001 bytes"):
        lab.publish(body + b"x")
    channel = grpc.insecure_channel(
        lab.server.endpoint, options=[("grpc.max_receive_message_length", -1)]
    )
    with SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)) as unlimited:
        response = unlimited.pull(subscription=lab.subscription, max_messages=10, timeout=5)
    assert [entry.message.data for entry in response.received_messages] == [body]


def test_what_the_emulator_client_can_take_reaches_it_alone_or_in_large_batches(lab: Lab) -> None:
    lab.create()
    alone = b"x" * 4_190_000
    lab.publish(alone)
    for _ in range(2):
        lab.publish(*[b"y" * 100_000] * 99)
    assert [entry.message.data for entry in lab.pull()] == [alone]
    seen = 0
    while seen < 198:
        seen += len(lab.pull())
    assert seen == 198


def test_a_deleted_topic_leaves_its_subscriptions_with_their_messages(lab: Lab) -> None:
    lab.create()
    lab.publish(b"left over")
    lab.publisher.delete_topic(topic=lab.topic)
    shown = lab.subscriber.get_subscription(subscription=lab.subscription)
    assert shown.topic == "_deleted-topic_"
    assert [entry.message.data for entry in lab.pull()] == [b"left over"]
    lab.publisher.create_topic(name=lab.topic)
    lab.publish(b"to the new topic")
    assert lab.pull_now() == []
    assert list(lab.publisher.list_topic_subscriptions(topic=lab.topic)) == []


def test_missing_resources_answer_not_found_by_name(lab: Lab) -> None:
    calls = [
        (lab.topic, lambda: lab.publish(b"x")),
        (lab.topic, lambda: lab.publisher.get_topic(topic=lab.topic)),
        (lab.topic, lambda: lab.publisher.delete_topic(topic=lab.topic)),
        (lab.topic, lambda: lab.publisher.list_topic_subscriptions(topic=lab.topic)),
        (
            lab.topic,
            lambda: lab.subscriber.create_subscription(name=lab.subscription, topic=lab.topic),
        ),
        (
            lab.subscription,
            lambda: lab.subscriber.get_subscription(subscription=lab.subscription),
        ),
        (
            lab.subscription,
            lambda: lab.subscriber.delete_subscription(subscription=lab.subscription),
        ),
        (lab.subscription, lab.pull),
        (
            lab.subscription,
            lambda: lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=["1-1-1"]),
        ),
        (
            lab.subscription,
            lambda: lab.subscriber.modify_ack_deadline(
                subscription=lab.subscription, ack_ids=["1-1-1"], ack_deadline_seconds=10
            ),
        ),
    ]
    for resource, call in calls:
        with pytest.raises(exceptions.NotFound, match=f"resource={resource}"):
            call()


def test_a_taken_name_answers_already_exists(lab: Lab) -> None:
    lab.create()
    with pytest.raises(exceptions.AlreadyExists, match=lab.topic):
        lab.publisher.create_topic(name=lab.topic)
    with pytest.raises(exceptions.AlreadyExists, match=lab.subscription):
        lab.subscriber.create_subscription(name=lab.subscription, topic=lab.topic)


def test_bad_names_answer_invalid_argument(lab: Lab) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="name=readings"):
        lab.publisher.create_topic(name="readings")
    with pytest.raises(exceptions.InvalidArgument, match="subscriptions/goog-x"):
        lab.subscriber.create_subscription(
            name=f"projects/{PROJECT}/subscriptions/goog-x", topic=lab.topic
        )
    with pytest.raises(exceptions.InvalidArgument, match="_deleted-topic_"):
        lab.subscriber.create_subscription(name=lab.subscription, topic="_deleted-topic_")
    with pytest.raises(exceptions.InvalidArgument, match="name=p"):
        lab.publisher.list_topics(project="p")


@pytest.mark.parametrize("seconds", [-1, 9, 601])
def test_an_ack_deadline_out_of_range_is_refused(lab: Lab, seconds: int) -> None:
    lab.publisher.create_topic(name=lab.topic)
    with pytest.raises(exceptions.InvalidArgument, match=f"ack_deadline_secs={seconds}"):
        lab.subscriber.create_subscription(
            request={
                "name": lab.subscription,
                "topic": lab.topic,
                "ack_deadline_seconds": seconds,
            }
        )


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no messages"),
        ([{}], "empty"),
        ([{"ordering_key": "key"}], "empty"),
        ([{"data": b"x"}] * 1001, "1001 messages"),
        ([{"data": b"x" * 5_000_000}] * 2, "10000000"),
        ([{"attributes": {f"k{number}": "v" for number in range(101)}}], "101 attributes"),
        ([{"attributes": {"": "v"}}], "attribute key"),
        ([{"attributes": {"k" * 257: "v"}}], "attribute key"),
        ([{"attributes": {"googclient": "v"}}], "attribute key"),
        ([{"attributes": {"k": "é" * 513}}], "value of attribute 'k'"),
        ([{"data": b"x", "ordering_key": "k" * 1025}], "ordering key"),
    ],
)
def test_a_publish_beyond_a_limit_is_refused_whole(
    lab: Lab, messages: list[dict], reason: str
) -> None:
    lab.create()
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        lab.publish_messages(messages)
    assert lab.pull_now() == []


def test_a_publish_at_the_limits_is_taken(lab: Lab) -> None:
    lab.create()
    lab.publish_messages([{"data": b"x"}] * 1000)
    lab.publish_messages([{"attributes": {f"k{number}": "v" * 1024 for number in range(100)}}])
    lab.publish_messages([{"attributes": {"k" * 256: ""}}])
    assert lab.server.counters().published == 1002


def test_a_pull_for_no_message_and_empty_ack_lists_are_refused(lab: Lab) -> None:
    lab.create()
    for max_messages in (0, -1):
        with pytest.raises(exceptions.InvalidArgument, match=f"max_messages={max_messages}"):
            lab.subscriber.pull(
                request={"subscription": lab.subscription, "max_messages": max_messages}
            )
    with pytest.raises(exceptions.InvalidArgument, match="No ack ids"):
        lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[])
    with pytest.raises(exceptions.InvalidArgument, match="No ack ids"):
        lab.subscriber.modify_ack_deadline(
            subscription=lab.subscription, ack_ids=[], ack_deadline_seconds=10
        )
    with pytest.raises(exceptions.InvalidArgument, match="invalid ack ID"):
        lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=["nonsense"])
    for seconds in (-1, 601):
        with pytest.raises(exceptions.InvalidArgument, match=f"ack_deadline_secs={seconds}"):
            lab.subscriber.modify_ack_deadline(
                subscription=lab.subscription, ack_ids=["1-1-1"], ack_deadline_seconds=seconds
            )


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("push_config", {"push_endpoint": "https://example.com/push"}),
        ("bigquery_config", {"table": "project.dataset.table"}),
        ("cloud_storage_config", {"bucket": "bucket"}),
        ("filter", 'attributes.pole_id = "p1"'),
        ("enable_exactly_once_delivery", True),
        ("enable_message_ordering", True),
        ("expiration_policy", {"ttl": duration_pb2.Duration(seconds=90_000)}),
    ],
)
def test_an_unsupported_feature_is_refused_by_name(lab: Lab, feature: str, value: object) -> None:
    lab.publisher.create_topic(name=lab.topic)
    request = {"name": lab.subscription, "topic": lab.topic, feature: value}
    with pytest.raises(exceptions.MethodNotImplemented, match=feature):
        lab.subscriber.create_subscription(request=request)
    with pytest.raises(exceptions.NotFound):
        lab.subscriber.get_subscription(subscription=lab.subscription)


def test_fields_that_ask_for_what_the_server_does_anyway_are_taken(lab: Lab) -> None:
    lab.publisher.create_topic(name=lab.topic)
    lab.subscriber.create_subscription(
        request={
            "name": lab.subscription,
            "topic": lab.topic,
            "push_config": {},
            "expiration_policy": {},
        }
    )
    copied = lab.subscriber.get_subscription(subscription=lab.subscription)
    copied.name += "-copy"
    lab.subscriber.create_subscription(request=copied)


def test_an_unsupported_topic_feature_is_refused_by_name(lab: Lab) -> None:
    request = {"name": lab.topic, "message_retention_duration": duration_pb2.Duration(seconds=600)}
    with pytest.raises(exceptions.MethodNotImplemented, match="message_retention_duration"):
        lab.publisher.create_topic(request=request)


def test_every_other_rpc_answers_unimplemented_by_name(server: PubSubServer) -> None:
    metadata = json.loads(
        resources.files("google.pubsub_v1").joinpath("gapic_metadata.json").read_text()
    )
    answers: dict[str, grpc.StatusCode] = {}
    with grpc.insecure_channel(server.endpoint) as channel:
        for service in ("Publisher", "Subscriber", "SchemaService"):
            for rpc in metadata["services"][service]["clients"]["grpc"]["rpcs"]:
                call = channel.stream_stream(f"/google.pubsub.v1.{service}/{rpc}")
                with pytest.raises(grpc.RpcError) as refused:
                    list(call(iter([b""]), timeout=5))
                answers[rpc] = refused.value.code()
                if answers[rpc] == grpc.StatusCode.UNIMPLEMENTED:
                    assert refused.value.details().startswith(f"{rpc} is not offered")
    offered = {rpc for rpc, code in answers.items() if code != grpc.StatusCode.UNIMPLEMENTED}
    assert offered == {
        "CreateTopic",
        "GetTopic",
        "ListTopics",
        "UpdateTopic",
        "DeleteTopic",
        "DetachSubscription",
        "ListTopicSubscriptions",
        "Publish",
        "CreateSubscription",
        "GetSubscription",
        "ListSubscriptions",
        "UpdateSubscription",
        "DeleteSubscription",
        "Seek",
        "Pull",
        "StreamingPull",
        "Acknowledge",
        "ModifyAckDeadline",
    }
    assert {answers[rpc] for rpc in offered} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert {"CreateSnapshot", "ListTopicSnapshots", "ModifyPushConfig"} <= set(answers)


def test_counters_tell_what_happened_and_what_waits(lab: Lab) -> None:
    lab.create()
    lab.publish(b"a", b"b", b"c")
    first, second, _ = lab.pull()
    lab.subscriber.acknowledge(subscription=lab.subscription, ack_ids=[first.ack_id])
    lab.subscriber.modify_ack_deadline(
        subscription=lab.subscription, ack_ids=[second.ack_id], ack_deadline_seconds=0
    )
    lab.pull()
    counters = lab.server.counters()
    assert (counters.published, counters.delivered, counters.redelivered, counters.acked) == (
        3,
        4,
        1,
        1,
    )
    waiting = counters.subscriptions[lab.subscription]
    assert (waiting.backlog, waiting.outstanding) == (2, 2)
    assert 0 < waiting.oldest_unacked_age_s < 10
    lab.subscriber.delete_subscription(subscription=lab.subscription)
    after = lab.server.counters()
    assert (after.delivered, after.acked, after.subscriptions) == (4, 1, {})
