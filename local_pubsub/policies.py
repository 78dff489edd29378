"""Reads a serialised Subscription resource; gives the rules its deliveries follow, typed."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import types as pubsub

DEFAULT_RETENTION_S = 7 * 24 * 3600

_Subscription = pubsub.Subscription.pb()


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How a subscription delivers, retries, dead-letters and retains.

    `max_attempts` is 0 without a dead-letter policy; both backoffs are 0 without a retry policy.
    """

    ack_deadline_s: int = 10
    dead_letter_topic: str = ""
    max_attempts: int = 0
    min_backoff_s: float = 0.0
    max_backoff_s: float = 0.0
    retention_s: float = DEFAULT_RETENTION_S
    retain_acked: bool = False
    detached: bool = False

    @property
    def counts_attempts(self) -> bool:
        """Whether the number of attempts matters enough to outlive the server."""
        return self.max_attempts > 0 or self.max_backoff_s > 0

    def backoff_s(self, attempts: int) -> float:
        """Return the pause [s] after the given number of failed attempts: doubling, bounded."""
        # Beyond 2^20 the maximum of 600 s rules whatever the minimum.
        return min(self.max_backoff_s, self.min_backoff_s * 2.0 ** min(attempts - 1, 20))


def policy_of(config: bytes) -> DeliveryPolicy:
    """Return the policy of a serialised Subscription resource."""
    resource = _Subscription.FromString(config)
    retry = resource.HasField("retry_policy")
    return DeliveryPolicy(
        ack_deadline_s=resource.ack_deadline_seconds or DeliveryPolicy().ack_deadline_s,
        dead_letter_topic=resource.dead_letter_policy.dead_letter_topic,
        max_attempts=resource.dead_letter_policy.max_delivery_attempts,
        min_backoff_s=seconds_of(resource.retry_policy.minimum_backoff) if retry else 0.0,
        max_backoff_s=seconds_of(resource.retry_policy.maximum_backoff) if retry else 0.0,
        retention_s=(
            seconds_of(resource.message_retention_duration)
            if resource.HasField("message_retention_duration")
            else DEFAULT_RETENTION_S
        ),
        retain_acked=resource.retain_acked_messages,
        detached=resource.detached,
    )


def seconds_of(duration: Duration) -> float:
    """Return a protobuf duration in seconds."""
    return duration.seconds + duration.nanos / 1e9
