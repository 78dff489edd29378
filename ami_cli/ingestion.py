"""`ami ingest` and `ami import`: read messages or a file, give stored readings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from ami_cli.subscription import open_source
from ami_cli.terminal import Working, is_interactive, say, stopping_on_signals
from ami_contract.settings import Settings
from beam_jobs.bounded import RunMetrics
from beam_jobs.decode import PayloadBounds
from beam_jobs.import_map import load_map
from beam_jobs.importer import ImportSummary, import_file
from beam_jobs.intake import Limits
from beam_jobs.layout import Layout, LayoutThread
from beam_jobs.local import Totals, ingest

LATENCIES: Final = {"event": "latency_event_ms", "gateway": "latency_gateway_ms"}
"""Names of the graph's end-to-end latencies, by where they begin."""

_LOG_EVERY_S: Final = 10.0


def _now() -> datetime:
    return datetime.now(UTC)


def payload_bounds(settings: Settings) -> PayloadBounds:
    """How large a payload may be."""
    return PayloadBounds(settings.max_payload_bytes, settings.max_decoded_bytes)


def batch_limits(settings: Settings) -> Limits:
    """Bounds of a micro-batch."""
    return Limits(
        settings.ingest_max_messages, settings.ingest_max_bytes, settings.ingest_max_wait_s
    )


@dataclass(frozen=True)
class StoredBatch:
    """One micro-batch that is stored and acknowledged.

    Attributes:
        totals: counters of the whole run after it.
        own: its own counters and latencies.
        duration_s: from the begin of its run to its acknowledgement.
    """

    totals: Totals
    own: RunMetrics
    duration_s: float


class BatchWatch:
    """Turns the growing totals of an ingest into one `StoredBatch` per report.

    Args:
        listeners: called with every batch.
    """

    def __init__(self, listeners: list[Callable[[StoredBatch], None]]) -> None:
        self._listeners = listeners
        self._batches = 0
        self._before: dict[str, int] = {}

    def report(self, totals: Totals) -> None:
        """Tell the listeners of the batch that ended now, if one did.

        Takes the distributions out of `totals`, because neither minimum nor maximum of a batch can
        be told from those of the whole run.
        """
        if totals.batches == self._batches:
            return
        self._batches = totals.batches
        latencies, totals.distributions = totals.distributions, {}
        own = {name: n - self._before.get(name, 0) for name, n in totals.counters.items()}
        self._before = dict(totals.counters)
        batch = StoredBatch(totals, RunMetrics(own, latencies), totals.last_batch_s)
        for listener in self._listeners:
            listener(batch)


@dataclass
class IntervalLine:
    """Prints a line about the batches of at least ten seconds.

    Attributes:
        clock: monotonic seconds.
        out: where the line goes.
    """

    clock: Callable[[], float]
    out: Callable[[str], None]
    _since: float = field(init=False)
    _interval: Totals = field(default_factory=Totals, init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def __call__(self, batch: StoredBatch) -> None:
        """Take in a batch."""
        self._interval.add(batch.own)
        passed_s = self.clock() - self._since
        if passed_s < _LOG_EVERY_S:
            return
        totals = batch.totals
        self.out(
            f"ingest batches={totals.batches} messages={totals.counters['messages']} "
            f"stored={totals.counters['stored']} refused={totals.refused} "
            f"unknown_fields={totals.counters['unknown_fields']} "
            f"rate={self._interval.counters['stored'] / passed_s:.0f}/s{self._latency()}"
        )
        self._since, self._interval = self.clock(), Totals()

    def _latency(self) -> str:
        return "".join(
            f" {origin}_latency_mean_s={found.sum / found.count / 1000:.3f}"
            f" {origin}_latency_max_s={found.max / 1000:.3f}"
            for origin, name in LATENCIES.items()
            if (found := self._interval.distributions.get(name)) and found.count
        )


def run_ingest(settings: Settings, drain_s: float | None, metrics_port: int = 0) -> Totals:
    """Ingest until stopped (or idle for `drain_s`).

    Args:
        settings: of this call.
        drain_s: None: never ends by itself.
        metrics_port: loopback port for Prometheus; 0: none.

    Raises:
        SettingsError: the port of the metrics is taken.
        TransportError: no Pub/Sub answers at the start.
        LakeError: the lake cannot be written; nothing unwritten was acknowledged.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    listeners: list[Callable[[StoredBatch], None]] = [IntervalLine(time.monotonic, say)]
    with ExitStack() as cleanup:
        if metrics_port:
            from ami_cli.ingest_metrics import IngestMetrics, serve

            metrics = IngestMetrics(time.monotonic)
            listeners.append(metrics.batch_stored)
            say(f"metrics: {cleanup.enter_context(serve(metrics, metrics_port))}")
        source = open_source(settings)
        cleanup.callback(source.close)
        say(f"ingest: {settings.pubsub_subscription} → {settings.data_dir}")
        watch = BatchWatch(listeners)
        stop = cleanup.enter_context(stopping_on_signals())
        layout = Layout(settings.archive_minutes, settings.archive_gzip)
        cleanup.enter_context(LayoutThread(settings.data, layout, now=_now))
        totals = ingest(
            settings.data,
            source,
            batch_limits(settings),
            payload_bounds(settings),
            stop=stop,
            now=_now,
            clock=time.monotonic,
            workers=settings.ingest_workers,
            idle_timeout_s=drain_s,
            report=watch.report,
        )
    say(
        f"ingest stopped: {totals.counters['messages']} messages in {totals.batches} batches, "
        f"{totals.counters['stored']} readings stored, {totals.refused} refused"
    )
    return totals


def run_import(settings: Settings, file: Path, mapping: Path) -> ImportSummary:
    """Import a file and print what became of its rows.

    Raises:
        SettingsError: file or map are wrong; nothing was written.
        LakeError: the lake cannot be written.
    """
    found = load_map(mapping)
    with Working("importing") as working:

        def progress(rows: int) -> None:
            working.now(f"importing: {rows:,} rows")
            if not is_interactive():
                say(f"imported {rows} rows")

        summary = import_file(
            settings.data,
            file,
            found,
            now=_now,
            bounds=payload_bounds(settings),
            progress=progress,
        )
    click.echo(_sentence(summary, settings))
    return summary


def _sentence(summary: ImportSummary, settings: Settings) -> str:
    refused = sum(summary.refused.values())
    reasons = ", ".join(f"{count} {code}" for code, count in summary.refused.items())
    counts = f"{summary.rows} rows: {summary.stored} stored, {refused} rejected" + (
        f" ({reasons}; see {settings.data.deadletter})" if refused else ""
    )
    if summary.repeated:
        return f"{summary.file} was imported before, nothing changed; then {counts}"
    return (
        f"{summary.file}: {counts}; {summary.meters_added} meters added to the registry; "
        "next: ami build"
    )
