"""Group: reads Pub/Sub messages, gives `MessageBatch` elements bounded by count, bytes and wait.

A batch costs the graph about the same whatever it holds, so messages of one reading are handled
together. Within a bundle this is free. Waiting longer than a bundle (`max_wait_s`) puts messages
into the runner's state, which costs more than it saves unless messages trickle in one by one over
many workers; then only small messages wait, so that what waits stays bounded in bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.metrics import Metrics
from apache_beam.utils.timestamp import Timestamp

from beam_jobs.elements import Message, MessageBatch
from beam_jobs.pipeline import NAMESPACE

_SEGMENT_CHARACTERS: Final = 32
_SMALL, _LARGE = "small", "large"


def utc_now() -> datetime:
    """Wall clock."""
    return datetime.now(UTC)


def to_message(received: PubsubMessage, element_time: Timestamp) -> Message:
    """A message as the graph handles it.

    Args:
        received: from Pub/Sub; where the runner gives it no id, its content names it.
        element_time: its publish time where the message carries none.
    """
    attributes = dict(received.attributes or {})
    published = received.publish_time or element_time.to_utc_datetime(
        has_tz=True, allow_lossy_conversion=True
    )
    return Message(
        received.message_id or _content_id(received.data, attributes),
        published.astimezone(UTC),
        attributes,
        received.data,
    )


def _content_id(data: bytes, attributes: dict[str, str]) -> str:
    content = repr(sorted(attributes.items())).encode() + b"\0" + data
    return hashlib.sha256(content).hexdigest()[:_SEGMENT_CHARACTERS]


def to_batch(messages: Iterable[Message], ingest_ts: datetime) -> MessageBatch:
    """A batch named by its messages, so that the same messages make the same name."""
    kept = list(messages)
    identity = "\0".join(message.message_id for message in kept).encode()
    segment = hashlib.sha256(identity).hexdigest()[:_SEGMENT_CHARACTERS]
    return MessageBatch(segment, ingest_ts, kept)


def _to_message(element: PubsubMessage, timestamp: Timestamp = beam.DoFn.TimestampParam) -> Message:
    return to_message(element, timestamp)


class ToMessages(beam.PTransform):
    """`PubsubMessage` → `Message`."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to what `ReadFromPubSub(with_attributes=True)` gives."""
        return pcoll | beam.Map(_to_message).with_output_types(Message)


class GroupMessages(beam.PTransform):
    """`Message` → `MessageBatch`.

    Args:
        max_messages: most messages in a batch.
        max_bytes: most payload bytes in a batch; one larger message still makes a batch.
        max_wait_s: longest time a small message waits for company beyond its bundle, in seconds;
            0: it does not.
        now: clock of `ingest_ts`.
    """

    def __init__(
        self,
        max_messages: int,
        max_bytes: int,
        max_wait_s: float = 0,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_wait_s = max_wait_s
        self._now = now

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Message`."""
        grouped = self._waiting(pcoll) if self._max_wait_s else self._within_bundle(pcoll)
        return grouped | "To batch" >> beam.ParDo(_ToBatch(self._now)).with_output_types(
            MessageBatch
        )

    def _within_bundle(self, pcoll: beam.PCollection) -> beam.PCollection:
        # A message weighs at least its share of the bytes, so the one bound holds for both.
        least = self._max_bytes / self._max_messages
        return pcoll | "Group within bundle" >> beam.BatchElements(
            min_batch_size=self._max_bytes,
            max_batch_size=self._max_bytes,
            element_size_fn=lambda message: max(least, len(message.data)),
        )

    def _waiting(self, pcoll: beam.PCollection) -> beam.PCollection:
        small_bytes = self._max_bytes / self._max_messages

        def by_size(message: Message) -> Iterator[beam.pvalue.TaggedOutput]:
            tag = _SMALL if len(message.data) <= small_bytes else _LARGE
            yield beam.pvalue.TaggedOutput(tag, message)

        sized = pcoll | "By size" >> beam.FlatMap(by_size).with_outputs(_SMALL, _LARGE)
        small = (
            sized[_SMALL]
            | "Key"
            >> beam.Map(lambda message: (b"", message)).with_output_types(tuple[bytes, Message])
            | "Group waiting"
            >> beam.GroupIntoBatches.WithShardedKey(self._max_messages, self._max_wait_s)
            | "Drop key" >> beam.Map(lambda keyed: list(keyed[1]))
        )
        return (small, self._within_bundle(sized[_LARGE])) | beam.Flatten()


class _ToBatch(beam.DoFn):
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._sizes = Metrics.distribution(NAMESPACE, "batch_messages")

    def process(self, element: list[Message]) -> Iterator[MessageBatch]:
        self._sizes.update(len(element))
        yield to_batch(element, self._now())
