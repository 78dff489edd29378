"""Reads a message that used up its delivery attempts; gives its copy for the dead-letter topic.

Source: https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic
"""

from __future__ import annotations

from datetime import UTC, datetime

from google.pubsub_v1 import types as pubsub

from local_pubsub.journal import StoredMessage

_Message = pubsub.PubsubMessage.pb()
_PREFIX = "CloudPubSubDeadLetterSource"


def dead_letter_copy(stored: StoredMessage, subscription_name: str, attempts: int) -> bytes:
    """Return the serialised message plus the attributes that say where it comes from.

    The attributes are those of the service: subscription id, project id, number of delivery
    attempts and the time of the original publish (RFC 3339, UTC, milliseconds).
    """
    _, project, _, subscription = subscription_name.split("/")
    published = datetime.fromtimestamp(stored.publish_time_us / 1e6, UTC)
    message = _Message.FromString(stored.payload)
    message.attributes[f"{_PREFIX}Subscription"] = subscription
    message.attributes[f"{_PREFIX}SubscriptionProject"] = project
    message.attributes[f"{_PREFIX}DeliveryCount"] = str(attempts)
    message.attributes[f"{_PREFIX}TopicPublishTime"] = published.isoformat(timespec="milliseconds")
    return message.SerializeToString()
