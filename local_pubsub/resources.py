"""Reads topic and subscription requests; gives the resources to keep, checked and completed.

Source: the comments of pubsub.proto, and the answers of the service to field masks
(https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1).
"""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types as pubsub

from local_pubsub import limits, names
from local_pubsub.broker import Subscription, Topic
from local_pubsub.errors import InvalidArgument
from local_pubsub.policies import DEFAULT_RETENTION_S, seconds_of

_TopicPb = pubsub.Topic.pb()
_SubscriptionPb = pubsub.Subscription.pb()

_DEFAULT_MIN_BACKOFF_S = 10
_DEFAULT_MAX_BACKOFF_S = 600
_IMMUTABLE = {
    "Topic": frozenset({"name"}) | limits.TOPIC_OUTPUT_FIELDS,
    "Subscription": frozenset(
        {"name", "topic", "filter", "enable_message_ordering", "detached", "tags"}
    )
    | limits.SUBSCRIPTION_OUTPUT_FIELDS,
}


def new_topic(request: Any) -> Any:
    """Return the Topic to keep; raise InvalidArgument or Unsupported."""
    name = names.topic_name(request.name)
    limits.refuse_unsupported(request, limits.TOPIC_FIELDS, limits.TOPIC_OUTPUT_FIELDS)
    return _TopicPb(name=name, labels=dict(request.labels))


def changed_topic(config: bytes, request: Any) -> bytes:
    """Return the serialised Topic after an UpdateTopicRequest.

    Raises InvalidArgument for the mask, Unsupported for a feature that is not offered.
    """
    topic = _masked(_TopicPb.FromString(config), request.topic, request.update_mask, "Topic")
    limits.refuse_unsupported(topic, limits.TOPIC_FIELDS, limits.TOPIC_OUTPUT_FIELDS)
    return topic.SerializeToString()


def new_subscription(request: Any) -> Any:
    """Return the Subscription to keep; raise InvalidArgument or Unsupported."""
    names.subscription_name(request.name)
    names.topic_name(request.topic)
    if request.detached:
        raise InvalidArgument("detached is for the service to set: call DetachSubscription.")
    config = _SubscriptionPb()
    config.CopyFrom(request)
    for name in limits.SUBSCRIPTION_OUTPUT_FIELDS:
        config.ClearField(name)
    return _completed(config)


def changed_subscription(config: bytes, request: Any) -> bytes:
    """Return the serialised Subscription after an UpdateSubscriptionRequest.

    Raises InvalidArgument for the mask or a value, Unsupported for a feature that is not offered.
    """
    changed = _masked(
        _SubscriptionPb.FromString(config),
        request.subscription,
        request.update_mask,
        "Subscription",
    )
    return _completed(changed).SerializeToString()


def detached_subscription(config: bytes) -> bytes:
    """Return the serialised Subscription, marked as detached."""
    changed = _SubscriptionPb.FromString(config)
    changed.detached = True
    return changed.SerializeToString()


def shown_topic(topic: Topic) -> Any:
    """Return a Topic as the service shows it."""
    resource = _TopicPb.FromString(topic.config)
    resource.state = _TopicPb.ACTIVE
    return resource


def shown_subscription(subscription: Subscription, living_topics: frozenset[str]) -> Any:
    """Return a Subscription as the service shows it, a deleted topic under its stand-in name."""
    resource = _SubscriptionPb.FromString(subscription.config)
    resource.state = _SubscriptionPb.ACTIVE
    if subscription.topic is None and not resource.detached:
        resource.topic = names.DELETED_TOPIC
    dead_letter_topic = resource.dead_letter_policy.dead_letter_topic
    if dead_letter_topic and dead_letter_topic not in living_topics:
        resource.dead_letter_policy.dead_letter_topic = names.DELETED_TOPIC
    return resource


def _masked(resource: Any, given: Any, mask: FieldMask, kind: str) -> Any:
    """Return `resource` with the fields of `mask` as in `given`, the unset ones cleared."""
    if not mask.paths:
        raise InvalidArgument(
            f"The update_mask in the Update{kind}Request must be set, and must contain a "
            "non-empty paths list."
        )
    complaint = f"Invalid update_mask provided in the Update{kind}Request"
    fields = resource.DESCRIPTOR.fields_by_name
    source = type(resource)()
    source.CopyFrom(given)
    for path in mask.paths:
        head, dot, _ = path.partition(".")
        if head not in fields:
            raise InvalidArgument(
                f"{complaint}: '{path}' is not a known {kind} field. Note that field paths must "
                "be of the form 'push_config' rather than 'pushConfig'."
            )
        if head in _IMMUTABLE[kind]:
            raise InvalidArgument(f"{complaint}: the '{head}' field in the {kind} is not mutable.")
        if dot and not FieldMask(paths=[path]).IsValidForDescriptor(resource.DESCRIPTOR):
            raise InvalidArgument(f"{complaint}: '{path}' is not a known {kind} field.")
        if dot:
            # A part of a message that is not given is to be cleared like any other field.
            getattr(source, head).SetInParent()
    mask.MergeMessage(source, resource, replace_message_field=True, replace_repeated_field=True)
    return resource


def _completed(config: Any) -> Any:
    """Fill in the service's defaults and refuse what it, or this server, does not take."""
    limits.refuse_unsupported(config, limits.SUBSCRIPTION_FIELDS, limits.SUBSCRIPTION_OUTPUT_FIELDS)
    config.ack_deadline_seconds = limits.check_ack_deadline(
        config.ack_deadline_seconds or limits.DEFAULT_ACK_DEADLINE_S
    )
    config.expiration_policy.SetInParent()
    if not config.HasField("message_retention_duration"):
        config.message_retention_duration.seconds = DEFAULT_RETENTION_S
    limits.check_retention(seconds_of(config.message_retention_duration))
    if config.HasField("retry_policy"):
        _complete_retry_policy(config.retry_policy)
    if config.HasField("dead_letter_policy"):
        if config.dead_letter_policy.ByteSize() == 0:
            config.ClearField("dead_letter_policy")
        else:
            _complete_dead_letter_policy(config.dead_letter_policy)
    return config


def _complete_retry_policy(policy: Any) -> None:
    if not policy.HasField("minimum_backoff"):
        policy.minimum_backoff.seconds = _DEFAULT_MIN_BACKOFF_S
    if not policy.HasField("maximum_backoff"):
        policy.maximum_backoff.seconds = _DEFAULT_MAX_BACKOFF_S
    limits.check_backoff(seconds_of(policy.minimum_backoff), seconds_of(policy.maximum_backoff))


def _complete_dead_letter_policy(policy: Any) -> None:
    names.topic_name(policy.dead_letter_topic)
    policy.max_delivery_attempts = limits.check_delivery_attempts(
        policy.max_delivery_attempts or limits.DEFAULT_DELIVERY_ATTEMPTS
    )
