"""Reads Pub/Sub's gRPC requests; gives its responses and status codes, from a broker.

The raw protobuf classes behind `google.pubsub_v1` are used: proto-plus costs several times the
time per message. Pull responses are put together as bytes (see `wire`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types as pubsub

from local_pubsub import limits, names, resources
from local_pubsub.broker import Broker, DeliveredMessage, Subscription
from local_pubsub.errors import (
    Exhausted,
    InvalidArgument,
    RequestRefused,
    Unavailable,
    Unsupported,
)
from local_pubsub.leases import Consumer
from local_pubsub.paging import page_of
from local_pubsub.wire import pull_response

logger = logging.getLogger(__name__)

# Google's Python client takes at most 4 MiB per response when PUBSUB_EMULATOR_HOST is set.
MAX_RESPONSE_BYTES = 3_500_000
MAX_PULL_MESSAGES = 1000
MAX_PULL_WAIT_S = 30.0
# A pull answers empty this long before its client would give up with DEADLINE_EXCEEDED.
PULL_ANSWER_MARGIN_S = 0.25
_STREAM_WAIT_S = 30.0

_PUBLISHER = "google.pubsub.v1.Publisher"
_SUBSCRIBER = "google.pubsub.v1.Subscriber"

_SubscriptionPb = pubsub.Subscription.pb()
_PublishResponse = pubsub.PublishResponse.pb()
_DetachSubscriptionResponse = pubsub.DetachSubscriptionResponse.pb()
_SeekResponse = pubsub.SeekResponse.pb()
_ListTopicsResponse = pubsub.ListTopicsResponse.pb()
_ListTopicSubscriptionsResponse = pubsub.ListTopicSubscriptionsResponse.pb()
_ListSubscriptionsResponse = pubsub.ListSubscriptionsResponse.pb()


class PubSubService:
    """The Publisher and Subscriber services; each public method answers the RPC of its name."""

    def __init__(self, broker: Broker, max_waiting: int) -> None:
        """Answer from `broker`; at most `max_waiting` pulls and streams hold a thread at once."""
        self._broker = broker
        self._waiting_slots = threading.BoundedSemaphore(max_waiting)
        self._max_waiting = max_waiting

    def create_topic(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Create a topic with its labels."""
        config = resources.new_topic(request)
        self._broker.create_topic(config.name, config.SerializeToString())
        return config

    def get_topic(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Return a topic."""
        return resources.shown_topic(self._broker.topic(names.topic_name(request.topic)))

    def update_topic(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Change the fields of a topic that the mask names."""
        name = names.topic_name(request.topic.name)
        self._broker.update_topic(name, partial(resources.changed_topic, request=request))
        return resources.shown_topic(self._broker.topic(name))

    def list_topics(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Return a page of a project's topics, by name."""
        prefix = names.project_name(request.project) + "/"
        topics = {each.name: each for each in self._broker.topics() if each.name.startswith(prefix)}
        page, token = page_of(topics, request.page_size, request.page_token)
        return _ListTopicsResponse(
            topics=[resources.shown_topic(topics[name]) for name in page], next_page_token=token
        )

    def list_topic_subscriptions(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Return a page of a topic's subscription names."""
        topic = self._broker.topic(names.topic_name(request.topic))
        page, token = page_of(list(topic.subscriptions), request.page_size, request.page_token)
        return _ListTopicSubscriptionsResponse(subscriptions=page, next_page_token=token)

    def delete_topic(self, request: Any, _context: grpc.ServicerContext) -> Empty:
        """Delete a topic; its subscriptions live on with what they hold."""
        self._broker.delete_topic(names.topic_name(request.topic))
        return Empty()

    def publish(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Store messages; answer with their ids once they are on disk."""
        topic_name = names.topic_name(request.topic)
        limits.check_publish(request)
        # An id or time set by the client is overwritten on delivery: only the service gives them.
        payloads = [message.SerializeToString() for message in request.messages]
        message_ids = self._broker.publish(topic_name, payloads)
        return _PublishResponse(message_ids=[str(message_id) for message_id in message_ids])

    def create_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Create a pull subscription."""
        config = resources.new_subscription(request)
        self._broker.create_subscription(config.name, config.topic, config.SerializeToString())
        config.state = _SubscriptionPb.ACTIVE
        return config

    def get_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Return a subscription."""
        return self._shown(self._subscription(request))

    def list_subscriptions(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Return a page of a project's subscriptions, by name."""
        prefix = names.project_name(request.project) + "/"
        living_topics = self._living_topics()
        found = {
            each.name: each for each in self._broker.subscriptions() if each.name.startswith(prefix)
        }
        page, token = page_of(found, request.page_size, request.page_token)
        return _ListSubscriptionsResponse(
            subscriptions=[
                resources.shown_subscription(found[name], living_topics) for name in page
            ],
            next_page_token=token,
        )

    def update_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Change the fields of a subscription that the mask names."""
        name = names.subscription_name(request.subscription.name)
        self._broker.update_subscription(
            name, partial(resources.changed_subscription, request=request)
        )
        return self._shown(self._broker.subscription(name))

    def detach_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Cut a subscription off its topic; it delivers nothing from then on."""
        name = names.subscription_name(request.subscription)
        self._broker.detach_subscription(name, resources.detached_subscription)
        return _DetachSubscriptionResponse()

    def seek(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Settle what was published before a time and deliver what came later again."""
        name = names.subscription_name(request.subscription)
        target = request.WhichOneof("target")
        if target == "snapshot":
            raise Unsupported("Seek to a snapshot is not offered by the local Pub/Sub server.")
        if target is None:
            raise InvalidArgument("Seek needs a time to seek to.")
        try:
            time_us = request.time.ToMicroseconds()
        except ValueError as error:
            raise InvalidArgument(f"The time to seek to is none: {error}") from error
        self._broker.seek(name, time_us)
        return _SeekResponse()

    def delete_subscription(self, request: Any, _context: grpc.ServicerContext) -> Empty:
        """Delete a subscription and what only it waits for."""
        self._broker.delete_subscription(names.subscription_name(request.subscription))
        return Empty()

    def pull(self, request: Any, context: grpc.ServicerContext) -> bytes:
        """Lease waiting messages, waiting for the first unless told to return at once."""
        subscription = self._subscription(request)
        if request.max_messages <= 0:
            raise InvalidArgument(
                f"Invalid max_messages given (max_messages={request.max_messages}): "
                "it must be at least 1."
            )
        consumer = Consumer()
        with self._waiting_slot(), _attached(subscription, consumer, context):
            deliveries = self._broker.pull(
                subscription,
                consumer,
                min(request.max_messages, MAX_PULL_MESSAGES),
                MAX_RESPONSE_BYTES,
                lambda: subscription.policy.ack_deadline_s,
                0.0 if request.return_immediately else _pull_wait_s(context),
            )
        if not context.is_active():
            # The client gave up meanwhile: others need not wait for the deadline.
            _hand_back(subscription, deliveries)
        return pull_response(deliveries)

    def acknowledge(self, request: Any, _context: grpc.ServicerContext) -> Empty:
        """Settle messages."""
        subscription = self._subscription(request)
        _check_ack_ids(request.ack_ids)
        self._broker.acknowledge(subscription, request.ack_ids)
        return Empty()

    def modify_ack_deadline(self, request: Any, _context: grpc.ServicerContext) -> Empty:
        """Move ack deadlines; 0 s hands messages back at once."""
        subscription = self._subscription(request)
        _check_ack_ids(request.ack_ids)
        seconds = request.ack_deadline_seconds
        limits.check_ack_extensions([seconds])
        subscription.queue.modify([(ack_id, seconds) for ack_id in request.ack_ids])
        return Empty()

    def streaming_pull(
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Lease messages as they come, within the stream's flow control, until it is closed.

        A client that only ends its own side of the stream goes on receiving.
        """
        first = next(requests, None)
        if first is None:
            raise InvalidArgument("The stream ended before its first request.")
        subscription = self._subscription(first)
        stream = _Stream(self._broker, subscription, first)
        with self._waiting_slot(), _attached(subscription, stream.consumer, context):
            context.send_initial_metadata(())
            stream.listen(requests)
            while not stream.consumer.closed:
                deliveries = self._broker.pull(
                    subscription,
                    stream.consumer,
                    MAX_PULL_MESSAGES,
                    MAX_RESPONSE_BYTES,
                    lambda: stream.ack_deadline_s,
                    _STREAM_WAIT_S,
                )
                if not context.is_active():
                    _hand_back(subscription, deliveries)
                elif deliveries:
                    yield pull_response(deliveries)
        if stream.refused is not None:
            raise stream.refused

    def _subscription(self, request: Any) -> Subscription:
        return self._broker.subscription(names.subscription_name(request.subscription))

    def _living_topics(self) -> frozenset[str]:
        return frozenset(topic.name for topic in self._broker.topics())

    def _shown(self, subscription: Subscription) -> Any:
        return resources.shown_subscription(subscription, self._living_topics())

    @contextmanager
    def _waiting_slot(self) -> Iterator[None]:
        if not self._waiting_slots.acquire(blocking=False):
            raise Exhausted(
                f"{self._max_waiting} pulls and streams are open already; close some subscribers."
            )
        try:
            yield
        finally:
            self._waiting_slots.release()


class _Stream:
    """What the requests of one StreamingPull say: acks, deadlines, and an error to end with."""

    def __init__(self, broker: Broker, subscription: Subscription, first: Any) -> None:
        self._broker = broker
        self._subscription = subscription
        self.refused: RequestRefused | None = None
        self.ack_deadline_s = limits.check_ack_deadline(first.stream_ack_deadline_seconds)
        self.consumer = Consumer(
            max_outstanding_messages=max(0, first.max_outstanding_messages),
            max_outstanding_bytes=max(0, first.max_outstanding_bytes),
        )
        self._settle(first)

    def listen(self, requests: Iterator[Any]) -> None:
        """Follow the later requests in a thread of their own until the stream ends."""
        threading.Thread(
            target=self._follow, args=(requests,), name="streaming-pull-requests", daemon=True
        ).start()

    def _follow(self, requests: Iterator[Any]) -> None:
        try:
            for request in requests:
                self._check_later(request)
                self._settle(request)
        except RequestRefused as refused:
            self.refused = refused
            self._subscription.queue.detach(self.consumer)
        except grpc.RpcError:
            # gRPC's way to say that the stream was cancelled; the answering side ends by itself.
            logger.debug("stream on %s ended by its client", self._subscription.name)

    def _check_later(self, request: Any) -> None:
        if request.subscription:
            raise InvalidArgument("subscription must be set on the first request only.")
        if request.max_outstanding_messages or request.max_outstanding_bytes:
            raise InvalidArgument(
                "max_outstanding_messages and max_outstanding_bytes must be set on the first "
                "request only."
            )
        if request.stream_ack_deadline_seconds:
            self.ack_deadline_s = limits.check_ack_deadline(request.stream_ack_deadline_seconds)

    def _settle(self, request: Any) -> None:
        seconds = request.modify_deadline_seconds
        ack_ids = request.modify_deadline_ack_ids
        if len(seconds) != len(ack_ids):
            raise InvalidArgument(
                f"{len(ack_ids)} modify_deadline_ack_ids but {len(seconds)} "
                "modify_deadline_seconds: they must pair up."
            )
        limits.check_ack_extensions(seconds)
        if request.ack_ids:
            self._broker.acknowledge(self._subscription, request.ack_ids)
        if ack_ids:
            self._subscription.queue.modify(list(zip(ack_ids, seconds, strict=True)))


def _check_ack_ids(ack_ids: Iterable[str]) -> None:
    if not ack_ids:
        raise InvalidArgument("No ack ids specified.")


def _pull_wait_s(context: grpc.ServicerContext) -> float:
    left_s = context.time_remaining()
    if left_s is None:
        return MAX_PULL_WAIT_S
    return max(0.0, min(MAX_PULL_WAIT_S, left_s - PULL_ANSWER_MARGIN_S))


@contextmanager
def _attached(
    subscription: Subscription, consumer: Consumer, context: grpc.ServicerContext
) -> Iterator[None]:
    """Wake the consumer's thread when its client goes away."""
    if not context.add_callback(lambda: subscription.queue.detach(consumer)):
        consumer.closed = True
    try:
        yield
    finally:
        subscription.queue.detach(consumer)


def _hand_back(subscription: Subscription, deliveries: list[DeliveredMessage]) -> None:
    subscription.queue.release([delivery.ack_id for delivery in deliveries])


class ServiceRouter(grpc.GenericRpcHandler):
    """Finds the method for an RPC; every RPC it does not know answers UNIMPLEMENTED by name."""

    def __init__(self, service: PubSubService) -> None:
        """Route to the methods of `service`."""
        unary: dict[str, tuple[Callable[[Any, grpc.ServicerContext], Any], Any]] = {
            f"/{_PUBLISHER}/CreateTopic": (service.create_topic, pubsub.Topic),
            f"/{_PUBLISHER}/GetTopic": (service.get_topic, pubsub.GetTopicRequest),
            f"/{_PUBLISHER}/UpdateTopic": (service.update_topic, pubsub.UpdateTopicRequest),
            f"/{_PUBLISHER}/DetachSubscription": (
                service.detach_subscription,
                pubsub.DetachSubscriptionRequest,
            ),
            f"/{_PUBLISHER}/ListTopics": (service.list_topics, pubsub.ListTopicsRequest),
            f"/{_PUBLISHER}/ListTopicSubscriptions": (
                service.list_topic_subscriptions,
                pubsub.ListTopicSubscriptionsRequest,
            ),
            f"/{_PUBLISHER}/DeleteTopic": (service.delete_topic, pubsub.DeleteTopicRequest),
            f"/{_PUBLISHER}/Publish": (service.publish, pubsub.PublishRequest),
            f"/{_SUBSCRIBER}/CreateSubscription": (
                service.create_subscription,
                pubsub.Subscription,
            ),
            f"/{_SUBSCRIBER}/GetSubscription": (
                service.get_subscription,
                pubsub.GetSubscriptionRequest,
            ),
            f"/{_SUBSCRIBER}/UpdateSubscription": (
                service.update_subscription,
                pubsub.UpdateSubscriptionRequest,
            ),
            f"/{_SUBSCRIBER}/Seek": (service.seek, pubsub.SeekRequest),
            f"/{_SUBSCRIBER}/ListSubscriptions": (
                service.list_subscriptions,
                pubsub.ListSubscriptionsRequest,
            ),
            f"/{_SUBSCRIBER}/DeleteSubscription": (
                service.delete_subscription,
                pubsub.DeleteSubscriptionRequest,
            ),
            f"/{_SUBSCRIBER}/Pull": (service.pull, pubsub.PullRequest),
            f"/{_SUBSCRIBER}/Acknowledge": (service.acknowledge, pubsub.AcknowledgeRequest),
            f"/{_SUBSCRIBER}/ModifyAckDeadline": (
                service.modify_ack_deadline,
                pubsub.ModifyAckDeadlineRequest,
            ),
        }
        self._handlers = {
            method: _unary_handler(answer, request_type.pb())
            for method, (answer, request_type) in unary.items()
        }
        self._handlers[f"/{_SUBSCRIBER}/StreamingPull"] = grpc.stream_stream_rpc_method_handler(
            _answering_stream(service.streaming_pull),
            request_deserializer=pubsub.StreamingPullRequest.pb().FromString,
            response_serializer=_serialized,
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler for the RPC's method."""
        method = handler_call_details.method
        return self._handlers.get(method) or _unimplemented_handler(method)


def _unary_handler(
    answer: Callable[[Any, grpc.ServicerContext], Any], request_class: Any
) -> grpc.RpcMethodHandler:
    def answering(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return answer(request, context)
        except RequestRefused as refused:
            return _abort(context, refused)

    return grpc.unary_unary_rpc_method_handler(
        answering,
        request_deserializer=request_class.FromString,
        response_serializer=_serialized,
    )


def _serialized(response: Any) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


def _answering_stream(
    answer: Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]],
) -> Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]:
    def answering(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from answer(requests, context)
        except RequestRefused as refused:
            _abort(context, refused)

    return answering


def _unimplemented_handler(method: str) -> grpc.RpcMethodHandler:
    def answering(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        rpc = method.rpartition("/")[2]
        _abort(context, Unsupported(f"{rpc} is not offered by the local Pub/Sub server ({method})"))
        return iter(())

    # A handler of streams takes calls of every shape.
    return grpc.stream_stream_rpc_method_handler(answering)


def _abort(context: grpc.ServicerContext, refused: RequestRefused) -> Any:
    if isinstance(refused, Unavailable):
        logger.info("answered %s: %s", refused.status, refused)
    return context.abort(grpc.StatusCode[refused.status], str(refused))
