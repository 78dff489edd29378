"""The streaming graph: reads a Pub/Sub subscription, gives archive, BigQuery and dead letter.

    Pub/Sub ─ group ─ decode ─ validate ─┬─ archive by minute
                                         └─ enrich ─┬─ readings ── refused rows ─┐
                                                    ├─ live aggregates           │
                                                    └─ refusals ─────────────────┴─ dead letter

Decode, Validate and Enrich are those of the local ingest; only the sinks differ. Only wiring
stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import apache_beam as beam
from apache_beam.io.gcp.pubsub import ReadFromPubSub

from ami_contract.live import LIVE_AGGREGATE_FIELDS
from ami_contract.reading import ROW_FIELDS
from ami_contract.render import bigquery_schema
from beam_jobs.archive_windows import ArchiveByMinute
from beam_jobs.bigquery_sink import StoreReadings, WriteMethod, WriteRows
from beam_jobs.bigquery_tables import LIVE_TABLE, beside
from beam_jobs.deadletter_topic import DeadLetterRecords, FileDeadLetters, PublishDeadLetters
from beam_jobs.decode import PayloadBounds
from beam_jobs.group_messages import GroupMessages, ToMessages, utc_now
from beam_jobs.minute_aggregates import AggregatePoles
from beam_jobs.pipeline import Decode, Enrich, Validate


@dataclass(frozen=True)
class StreamConfig:
    """What the streaming graph is made of.

    Attributes:
        subscription: `projects/…/subscriptions/…`.
        table: `project:dataset.table` of the readings.
        write_method: how rows get into BigQuery.
        archive_root, deadletter_root: `gs://bucket/folder`.
        archive_minutes: stretch of `event_ts` in an archive file, 1 or 5.
        dlq_topic: `projects/…/topics/…`; None: dead letters become files.
        window_s: windows of the live aggregates, in seconds; 0: none.
        bounds: a larger payload is refused.
        group_max_messages, group_max_bytes, group_max_wait_s: bounds of a batch.
    """

    subscription: str
    table: str
    write_method: WriteMethod
    archive_root: str
    deadletter_root: str
    archive_minutes: int
    dlq_topic: str | None
    window_s: int
    bounds: PayloadBounds
    group_max_messages: int
    group_max_bytes: int
    group_max_wait_s: float


@dataclass(frozen=True)
class Warehouse:
    """Where rows go.

    Attributes:
        readings: tables of `raw_meter_readings` → `FailedRow`s.
        aggregates: tables of `minute_agg_pole_live` → `FailedRow`s.
    """

    readings: beam.PTransform
    aggregates: beam.PTransform


def bigquery_warehouse(config: StreamConfig) -> Warehouse:
    """BigQuery, written by the method of `config`."""
    live = beside(config.table, LIVE_TABLE)
    return Warehouse(
        WriteRows(config.table, bigquery_schema(ROW_FIELDS), config.write_method),
        WriteRows(live, bigquery_schema(LIVE_AGGREGATE_FIELDS), config.write_method),
    )


class StreamIngest(beam.PTransform):
    """`PubsubMessage` → everything the stream stores.

    Args:
        config: options of the graph.
        warehouse: where rows go.
        now: clock of `ingest_ts` and `computed_ts`.
    """

    def __init__(
        self,
        config: StreamConfig,
        warehouse: Warehouse,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__()
        self._config = config
        self._warehouse = warehouse
        self._now = now

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `PubsubMessage`."""
        config = self._config
        validated = (
            pcoll
            | "To messages" >> ToMessages()
            | "Group"
            >> GroupMessages(
                config.group_max_messages,
                config.group_max_bytes,
                config.group_max_wait_s,
                now=self._now,
            )
            | "Decode" >> Decode(config.bounds)
            | "Validate" >> Validate()
        )
        enriched = validated | "Enrich" >> Enrich()
        _ = validated | "Archive" >> ArchiveByMinute(config.archive_root, config.archive_minutes)
        refused_rows = enriched | "Store readings" >> StoreReadings(self._warehouse.readings)
        if config.window_s:
            _ = (
                enriched
                | "Aggregate" >> AggregatePoles(config.window_s, now=self._now)
                | "Store aggregates" >> self._warehouse.aggregates
            )
        refusals = enriched | "Refusals" >> DeadLetterRecords(config.deadletter_root)
        letters = (refusals, refused_rows) | "All dead letters" >> beam.Flatten()
        sink = (
            PublishDeadLetters(config.dlq_topic)
            if config.dlq_topic
            else FileDeadLetters(config.deadletter_root)
        )
        return letters | "Dead letter" >> sink


def build(pipeline: beam.Pipeline, config: StreamConfig) -> None:
    """Put the streaming graph into `pipeline`."""
    _ = (
        pipeline
        | "Read" >> ReadFromPubSub(subscription=config.subscription, with_attributes=True)
        | "Ingest" >> StreamIngest(config, bigquery_warehouse(config))
    )
