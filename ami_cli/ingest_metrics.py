"""Metrics of the local ingest: reads stored batches, gives Prometheus text over HTTP on loopback.

docs/metrics.md lists names, types and units.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from ami_cli.ingestion import LATENCIES, StoredBatch
from ami_contract.errors import SettingsError
from beam_jobs.bounded import RunMetrics
from beam_jobs.local import Totals

_COUNTERS: Final = (
    ("messages", "messages", "Messages stored or dead-lettered, and acknowledged."),
    ("payload_bytes", "payload_bytes", "Payload bytes of these messages."),
    ("readings_stored", "stored", "Readings stored, copies included."),
    ("unknown_fields", "unknown_fields", "Fields of readings that the contract does not know."),
)
_REFUSED: Final = "refused."
_SINCE: Final = {"event": "event_ts", "gateway": "gateway_ingest_ts"}


@dataclass(frozen=True)
class _State:
    totals: Totals
    last: StoredBatch
    stored_at: float


class IngestMetrics(Collector):
    """What an ingest has done so far, for a registry of `prometheus_client`.

    Scrapes come from another thread; they see one whole state, never half of a batch.

    Args:
        clock: monotonic seconds, for the age of the last batch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._state: _State | None = None

    def batch_stored(self, batch: StoredBatch) -> None:
        """Take in a batch."""
        totals = Totals(batch.totals.batches)
        if self._state:
            totals.add(RunMetrics(self._state.totals.counters, self._state.totals.distributions))
        totals.add(batch.own)
        state = _State(totals, batch, self._clock())
        with self._lock:
            self._state = state

    def collect(self) -> Iterator[Metric]:
        """All metrics; those of the last batch only once there was one."""
        with self._lock:
            state = self._state
        totals = state.totals if state else Totals()
        for name, key, text in _COUNTERS:
            yield CounterMetricFamily(f"ami_ingest_{name}", text, totals.counters[key])
        yield CounterMetricFamily("ami_ingest_batches", "Micro-batches stored.", totals.batches)
        refused = CounterMetricFamily(
            "ami_ingest_refused", "Readings and payloads dead-lettered, by code.", labels=["code"]
        )
        for name, count in sorted(totals.counters.items()):
            if name.startswith(_REFUSED):
                refused.add_metric([name.removeprefix(_REFUSED)], count)
        yield refused
        if state:
            yield from self._latencies(state)
            yield from self._last_batch(state)

    def _latencies(self, state: _State) -> Iterator[Metric]:
        total = SummaryMetricFamily(
            "ami_ingest_latency_seconds",
            "Per message: from its oldest event_ts, or its gateway_ingest_ts, to its ingest_ts.",
            labels=["since"],
        )
        longest = GaugeMetricFamily(
            "ami_ingest_last_batch_latency_max_seconds",
            "Longest such time in the last batch.",
            labels=["since"],
        )
        for origin, name in LATENCIES.items():
            if found := state.totals.distributions.get(name):
                total.add_metric([_SINCE[origin]], found.count, found.sum / 1000)
            if last := state.last.own.distributions.get(name):
                longest.add_metric([_SINCE[origin]], last.max / 1000)
        yield total
        yield longest

    def _last_batch(self, state: _State) -> Iterator[Metric]:
        own = state.last.own.counters
        for name, text, value in (
            ("age_seconds", "Time since it was acknowledged.", self._clock() - state.stored_at),
            (
                "duration_seconds",
                "From the begin of its run to its acknowledgement.",
                state.last.duration_s,
            ),
            ("messages", "Its messages.", own.get("messages", 0)),
            ("payload_bytes", "Their payload bytes.", own.get("payload_bytes", 0)),
        ):
            yield GaugeMetricFamily(f"ami_ingest_last_batch_{name}", f"Last batch: {text}", value)


@contextmanager
def serve(metrics: IngestMetrics, port: int) -> Iterator[str]:
    """Answer scrapes of `metrics` on a loopback port for the block; gives the address.

    Raises:
        SettingsError: the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise SettingsError(
            f"port {port} (ingest metrics) is in use; stop what uses it or give another with "
            "--metrics-port or AMI_INGEST_METRICS_PORT"
        ) from error
    try:
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
