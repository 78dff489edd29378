"""Reads random deliveries; gives that the joined bytes parse to what protobuf would have made."""

from __future__ import annotations

from google.pubsub_v1 import types as pubsub
from hypothesis import given
from hypothesis import strategies as st

from local_pubsub.broker import DeliveredMessage
from local_pubsub.journal import StoredMessage
from local_pubsub.wire import pull_response, varint

_Message = pubsub.PubsubMessage.pb()
_Texts = st.text(alphabet="aé", max_size=3)
_Attributes = st.dictionaries(_Texts, _Texts, max_size=3)


@st.composite
def deliveries(draw: st.DrawFn) -> DeliveredMessage:
    message = _Message(
        data=draw(st.binary(max_size=8) | st.just(b"x" * 300)),
        attributes=draw(_Attributes),
        ordering_key=draw(_Texts),
        message_id=draw(_Texts),
    )
    message.publish_time.nanos = draw(st.integers(0, 999_999_999))
    return DeliveredMessage(
        draw(st.integers(1, 1 << 60)),
        f"1-2-{draw(st.integers(1, 1 << 60))}",
        StoredMessage(draw(st.integers(1, 1 << 52)), message.SerializeToString()),
        draw(st.integers(0, 1000)),
    )


@given(st.lists(deliveries(), max_size=4))
def test_a_response_holds_each_message_with_the_servers_id_and_time(
    delivered: list[DeliveredMessage],
) -> None:
    for kind in (pubsub.PullResponse.pb(), pubsub.StreamingPullResponse.pb()):
        response = kind.FromString(pull_response(delivered))
        assert len(response.received_messages) == len(delivered)
        for received, wanted in zip(response.received_messages, delivered, strict=True):
            message = _Message.FromString(wanted.stored.payload)
            message.message_id = str(wanted.message_id)
            message.publish_time.FromMicroseconds(wanted.stored.publish_time_us)
            assert received.message == message
            assert received.ack_id == wanted.ack_id
            assert received.delivery_attempt == wanted.delivery_attempt


def test_varints_are_base_128_least_significant_first() -> None:
    # The example of protobuf's encoding guide.
    assert varint(150) == b"\x96\x01"
    assert [varint(0), varint(127), varint(128)] == [b"\x00", b"\x7f", b"\x80\x01"]
