"""Messages are grouped within bounds; nothing about a message is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from ingest_helpers import NOW, message, run_over, streamed

from beam_jobs.elements import Message
from beam_jobs.group_messages import GroupMessages, ToMessages, to_batch, to_message


def clock() -> datetime:
    return NOW


def test_a_received_message_keeps_id_times_attributes_and_payload() -> None:
    published = NOW - timedelta(seconds=3)
    received = PubsubMessage(b"[]", {"a": "b"}, "id-1", published)

    assert to_message(received, MIN_TIMESTAMP) == Message("id-1", published, {"a": "b"}, b"[]")


def test_a_message_without_id_is_named_by_its_content() -> None:
    def named(data: bytes, **attributes: str) -> str:
        return to_message(PubsubMessage(data, attributes), Timestamp(0)).message_id

    assert named(b"x", a="1") == named(b"x", a="1")
    assert len({named(b"x"), named(b"y"), named(b"x", a="1"), named(b"x", a="2")}) == 4


def test_a_message_without_publish_time_has_that_of_its_element() -> None:
    instant = datetime(2026, 3, 1, 11, 59, 58, tzinfo=UTC)
    stream = (
        TestStream()
        .add_elements([TimestampedValue(PubsubMessage(b"x", None), instant.timestamp())])
        .advance_watermark_to_infinity()
    )

    (found,) = streamed(ToMessages(), stream)
    assert (found.publish_time, found.attributes) == (instant, {})


def test_a_batch_is_named_by_its_messages() -> None:
    one, two = message(b"1", identity="1"), message(b"2", identity="2")

    assert to_batch([one, two], NOW) == to_batch(iter([one, two]), NOW)
    assert to_batch([one], NOW).segment != to_batch([one, two], NOW).segment


def sizes_of(messages: list[Message], **bounds: Any) -> list[list[str]]:
    """Ids in each batch that the messages become."""
    batches = run_over(GroupMessages(now=clock, **bounds), messages, Message)
    assert {batch.ingest_ts for batch in batches} == {NOW}
    return sorted([m.message_id for m in batch.messages] for batch in batches)


def test_a_bundle_s_messages_are_handled_together_up_to_a_count() -> None:
    messages = [message(b"x", identity=str(i)) for i in range(7)]
    found = sizes_of(messages, max_messages=3, max_bytes=3000)

    assert found == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_a_batch_is_bounded_in_bytes_and_one_larger_message_stands_alone() -> None:
    sizes = [400, 400, 400, 5000, 100]
    messages = [message(b"x" * size, identity=str(i)) for i, size in enumerate(sizes)]
    found = sizes_of(messages, max_messages=100, max_bytes=1000)

    assert sorted(i for ids in found for i in ids) == ["0", "1", "2", "3", "4"]
    assert ["3"] in found
    assert all(sum(sizes[int(i)] for i in ids) <= 1000 for ids in found if ids != ["3"])
    assert len(found) < len(sizes)


@pytest.mark.parametrize("wait_s", [0, 30])
def test_no_message_is_lost_or_doubled(wait_s: float) -> None:
    messages = [message(b"x" * (i % 5 * 100), identity=str(i)) for i in range(40)]
    found = sizes_of(messages, max_messages=10, max_bytes=2000, max_wait_s=wait_s)

    assert sorted(int(i) for ids in found for i in ids) == list(range(40))
    assert all(len(ids) <= 10 for ids in found)


def test_small_messages_of_several_bundles_wait_for_each_other_and_large_ones_do_not() -> None:
    def one(identity: str, size: int) -> TestStream:
        return TimestampedValue(message(b"x" * size, identity=identity), 0)

    stream = (
        TestStream()
        .with_output_types(Message)
        .add_elements([one("a", 1)])
        .add_elements([one("large", 900)])
        .add_elements([one("b", 1)])
        .advance_watermark_to_infinity()
    )
    group = GroupMessages(10, 1000, 5, now=clock)
    found = [sorted(m.message_id for m in batch.messages) for batch in streamed(group, stream)]

    assert sorted(found) == [["a", "b"], ["large"]]
