"""Publishing as Pub/Sub tutorials write it: one message per reading, each awaited before the next.

`future = publisher.publish(topic_path, data)` and `future.result()`, as in
<https://cloud.google.com/pubsub/docs/publish-receive-messages-client-library>.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport


def publish_one_by_one(endpoint: str, topic: str, payloads: Sequence[bytes]) -> None:
    """Publish every payload and wait for its message id."""
    transport = PublisherGrpcTransport(channel=grpc.insecure_channel(endpoint))
    publisher = pubsub_v1.PublisherClient(transport=transport)
    for data in payloads:
        future = publisher.publish(topic, data)
        future.result()
    publisher.stop()
    transport.close()
