"""`python -m beam_jobs.main`: reads a command line, gives a Dataflow job or a local ingest."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    TestOptions,
)
from apache_beam.runners.runner import PipelineResult

from ami_contract.errors import AmiError
from ami_contract.settings import load_settings
from beam_jobs.decode import PayloadBounds
from beam_jobs.group_messages import utc_now
from beam_jobs.intake import Limits
from beam_jobs.local import Totals, ingest
from beam_jobs.options import (
    IngestOptions,
    LocalConfig,
    help_text,
    is_local,
    local_config,
    parse,
    stream_config,
)
from beam_jobs.source import PubSubSource
from beam_jobs.streaming import StreamConfig, build

log = logging.getLogger("ami.ingest")


def run_cloud(options: PipelineOptions, config: StreamConfig) -> PipelineResult:
    """Make missing tables and submit the streaming job; does not wait for its end.

    With `--dry_run` the job is built and translated, and nothing else happens.
    """
    options.view_as(StandardOptions).streaming = True
    dry_run = options.view_as(TestOptions).dry_run
    if not (dry_run or options.view_as(IngestOptions).no_create_tables):
        _ensure_tables(options.view_as(GoogleCloudOptions).project, config)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, config)
    return pipeline.run()


def _ensure_tables(project: str, config: StreamConfig) -> None:
    from google.cloud import bigquery

    from beam_jobs.bigquery_tables import ensure_tables, live_table, readings_table

    tables = [readings_table(config.table)]
    if config.window_s:
        tables.append(live_table(config.table))
    ensure_tables(bigquery.Client(project=project), tables)


def run_local(config: LocalConfig) -> Totals:
    """Run the local micro-batch loop until SIGINT, SIGTERM or `drain_s` of silence.

    Raises:
        SettingsError: a setting is wrong.
        TransportError: no Pub/Sub answers at the start.
        LakeError: the lake cannot be written; nothing unwritten was acknowledged.
    """
    told = {
        "project_id": config.project_id,
        "pubsub_subscription": config.subscription,
        "data_dir": config.data_dir,
        "ingest_max_wait_s": config.max_wait_s,
    }
    settings = load_settings(**{name: value for name, value in told.items() if value is not None})
    source = PubSubSource(
        settings.project_id,
        settings.pubsub_topic,
        settings.pubsub_subscription,
        config.emulator_host or settings.emulator_host,
    )
    limits = Limits(
        settings.ingest_max_messages, settings.ingest_max_bytes, settings.ingest_max_wait_s
    )
    bounds = PayloadBounds(settings.max_payload_bytes, settings.max_decoded_bytes)
    try:
        source.ensure()
        log.info("%s → %s", settings.pubsub_subscription, settings.data_dir)
        with _stopping_on_signals() as stop:
            totals = ingest(
                settings.data,
                source,
                limits,
                bounds,
                stop=stop,
                now=utc_now,
                clock=time.monotonic,
                idle_timeout_s=config.drain_s,
            )
    finally:
        source.close()
    log.info(
        "%d messages, %d readings stored, %d refused",
        totals.counters["messages"],
        totals.counters["stored"],
        totals.refused,
    )
    return totals


@contextmanager
def _stopping_on_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 0, or 1 after an error that was explained."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
    try:
        options = parse(arguments)
        if is_local(options):
            run_local(local_config(options))
        else:
            run_cloud(options, stream_config(options))
    except AmiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
