"""BigQuery tables of the stream: reads the contract, makes the tables that are not there yet.

Terraform makes the same tables; this is for projects without it. An existing table is left as
it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Protocol

from google.cloud import bigquery

from ami_contract.live import LIVE_AGGREGATE_FIELDS
from ami_contract.reading import ROW_FIELDS
from ami_contract.render import bigquery_schema

LIVE_TABLE: Final = "minute_agg_pole_live"


class Client(Protocol):
    """The part of BigQuery's client that is needed."""

    def create_table(self, table: bigquery.Table, exists_ok: bool) -> Any:
        """Make a table."""


def beside(table: str, name: str) -> str:
    """`project:dataset.name` of the dataset that holds `table` (`project:dataset.table`)."""
    return f"{table.rpartition('.')[0]}.{name}"


def readings_table(table: str) -> bigquery.Table:
    """Raw readings, partitioned by day of `event_ts`, clustered by pole and meter.

    A query without a condition on `event_ts` fails rather than scan all days.
    """
    made = _table(table, bigquery_schema(ROW_FIELDS), "event_ts", ["pole_id", "meter_id"])
    made.require_partition_filter = True
    return made


def live_table(table: str) -> bigquery.Table:
    """Provisional aggregates beside `table`, partitioned by day, clustered by pole."""
    return _table(
        beside(table, LIVE_TABLE),
        bigquery_schema(LIVE_AGGREGATE_FIELDS),
        "window_start",
        ["pole_id"],
    )


def _table(table: str, schema: str, day_of: str, cluster_by: list[str]) -> bigquery.Table:
    fields = [bigquery.SchemaField.from_api_repr(field) for field in json.loads(schema)]
    made = bigquery.Table(table.replace(":", "."), schema=fields)
    made.time_partitioning = bigquery.TimePartitioning(field=day_of)
    made.clustering_fields = cluster_by
    return made


def ensure_tables(client: Client, tables: Iterable[bigquery.Table]) -> None:
    """Make the tables that do not exist."""
    for table in tables:
        client.create_table(table, exists_ok=True)
