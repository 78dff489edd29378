"""What the API counts: gives Prometheus metrics of requests, statements, answers and freshness."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one API, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ami_api_requests",
            "Requests by address, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ami_api_request_seconds",
            "Time from request to the end of its answer, in seconds.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._statements = Histogram(
            "ami_api_statement_seconds",
            "Time that the warehouse took for a statement, in seconds.",
            ["statement"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._answers = Counter(
            "ami_api_answers",
            "Answers that were kept (hit), made (miss) or still held by the client (revalidated).",
            ["kept"],
            registry=self.registry,
        )
        self._snapshots = Counter(
            "ami_api_snapshots", "Snapshots that were attached.", registry=self.registry
        )
        self._published = Gauge(
            "ami_api_snapshot_published_timestamp_seconds",
            "When the attached snapshot was published; 0 without one.",
            registry=self.registry,
        )
        self._cache = Gauge(
            "ami_api_cache_bytes", "Memory that kept answers hold.", registry=self.registry
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def cached(self, kept: str) -> None:
        """Count an answer as hit, miss or revalidated."""
        self._answers.labels(kept).inc()

    def attached(self, published_at_s: float) -> None:
        """Tell when the attached snapshot was published, as Unix time; 0 without one."""
        if published_at_s:
            self._snapshots.inc()
        self._published.set(published_at_s)

    @contextmanager
    def timed(self, statement: str) -> Iterator[None]:
        """Time a statement."""
        begin_s = time.perf_counter()
        try:
            yield
        finally:
            self._statements.labels(statement).observe(time.perf_counter() - begin_s)

    def text(self, cache_bytes: int) -> bytes:
        """All metrics in Prometheus' text format."""
        self._cache.set(cache_bytes)
        return generate_latest(self.registry)
