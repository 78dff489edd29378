"""`ami ingest` and `ami import`: read messages or a file, give stored readings."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from ami_cli.subscription import open_source
from ami_cli.terminal import Working, is_interactive, say, stopping_on_signals
from ami_contract.settings import Settings
from beam_jobs.decode import PayloadBounds
from beam_jobs.import_map import load_map
from beam_jobs.importer import ImportSummary, import_file
from beam_jobs.intake import Limits
from beam_jobs.layout import Layout, LayoutThread
from beam_jobs.local import Totals, ingest

_LOG_EVERY_S = 10.0


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


def run_ingest(settings: Settings, drain_s: float | None) -> Totals:
    """Ingest until stopped (or idle for `drain_s`).

    Raises:
        TransportError: no Pub/Sub answers at the start.
        LakeError: the lake cannot be written; nothing unwritten was acknowledged.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    source = open_source(settings)
    say(f"ingest: {settings.pubsub_subscription} → {settings.data_dir}")
    logged_at = time.monotonic()
    before = 0

    def report(totals: Totals) -> None:
        nonlocal logged_at, before
        since = time.monotonic() - logged_at
        if since < _LOG_EVERY_S:
            return
        stored = totals.counters["stored"]
        say(
            f"ingest batches={totals.batches} messages={totals.counters['messages']} "
            f"stored={stored} refused={totals.refused} "
            f"unknown_fields={totals.counters['unknown_fields']} "
            f"rate={(stored - before) / since:.0f}/s"
        )
        logged_at, before = time.monotonic(), stored

    try:
        with (
            stopping_on_signals() as stop,
            LayoutThread(
                settings.data,
                Layout(settings.archive_minutes, settings.archive_gzip),
                now=_now,
            ),
        ):
            totals = ingest(
                settings.data,
                source,
                batch_limits(settings),
                payload_bounds(settings),
                stop=stop,
                now=_now,
                clock=time.monotonic,
                idle_timeout_s=drain_s,
                report=report,
            )
    finally:
        source.close()
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
