"""Publications under way are not felt: every request is answered, soon from the new snapshot."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from small_warehouse import publish_small
from starlette.testclient import TestClient

from ami_contract.lake import DataDir


def test_no_request_fails_while_builds_are_published(
    data: DataDir, serve: Callable[..., TestClient]
) -> None:
    publish_small(data)
    # Nothing is kept, so that every answer asks the snapshot.
    client = serve(data, api_cache_bytes=0, api_requests_per_s=0.0)
    statuses: Counter[int] = Counter()
    snapshots: set[str] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for address in ("/poles", "/pole/p1/summary", "/anomalies", "/ready"):
                answer = client.get(address)
                statuses[answer.status_code] += 1
                if address == "/ready":
                    snapshots.add(answer.json()["snapshot_id"])

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for _ in range(4):
        publish_small(data)
        time.sleep(0.6)
    stop.set()
    for asker in askers:
        asker.join()

    assert set(statuses) == {200}
    assert statuses[200] > 30
    assert len(snapshots) > 2
