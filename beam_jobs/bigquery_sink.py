"""BigQuery sink: reads tables of rows, gives rows of BigQuery and those that it refused.

Readings are columns up to here; rows are made because BigQuery's writers take nothing else. The
tables themselves are made before the job starts (`beam_jobs.bigquery_tables`), so no writer has
to create any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import apache_beam as beam
import orjson
import pyarrow as pa
from apache_beam.io.gcp.bigquery import BigQueryDisposition, WriteToBigQuery
from apache_beam.io.gcp.bigquery_tools import RetryStrategy
from apache_beam.metrics import Metrics
from apache_beam.utils.timestamp import Timestamp

from ami_contract.errors import RejectionCode
from ami_contract.reading import READING_FIELDS, Attribute, ContentType
from beam_jobs.archive import utc_text
from beam_jobs.elements import Enriched, Message, MessageBatch, Refusal
from beam_jobs.pipeline import NAMESPACE
from beam_jobs.sinks import dead_letter

# BigQuery takes 1500 load jobs per table and day.
FILE_LOADS_EVERY_S: Final = 120


class WriteMethod(StrEnum):
    """How rows get into BigQuery."""

    STORAGE_WRITE_API = "storage_write_api"
    STREAMING_INSERTS = "streaming_inserts"
    FILE_LOADS = "file_loads"


class FailedRow(NamedTuple):
    """A row that BigQuery refused for good.

    Attributes:
        row: by column name, times as RFC 3339 text.
        error: BigQuery's reason.
    """

    row: dict[str, Any]
    error: str


def json_value(value: Any) -> Any:
    """A value as streaming inserts and load jobs take it: times and dates as text."""
    if isinstance(value, Timestamp):
        return utc_text(value.to_utc_datetime(has_tz=True))
    if isinstance(value, datetime):
        return utc_text(value)
    return value.isoformat() if isinstance(value, date) else value


def beam_value(value: Any) -> Any:
    """A value as the Storage Write API's transform takes it: times as Beam's timestamps."""
    if isinstance(value, datetime):
        return Timestamp.from_utc_datetime(value.astimezone(UTC))
    return value


def to_rows(table: pa.Table, convert: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries of Python values.

    Args:
        table: of columns that hold each text or time many times.
        convert: is applied once to every distinct value that is neither number nor list.
    """
    columns = [_values(column, convert) for column in table.itercolumns()]
    names = table.column_names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray, convert: Callable[[Any], Any]) -> list[Any]:
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if number and not column.null_count:
        values: list[Any] = column.to_numpy().tolist()
        return values
    if number or pa.types.is_list(column.type):
        return column.to_pylist()
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks)
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    distinct = [convert(value) for value in encoded.dictionary.to_pylist()]
    # The index -1 of a null is that of the last.
    distinct.append(None)
    return [distinct[index] for index in encoded.indices.fill_null(-1).to_numpy().tolist()]


class _RowsFn(beam.DoFn):
    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self._convert = convert
        self._rows = Metrics.counter(NAMESPACE, "warehouse_rows")

    def process(self, element: pa.Table) -> list[dict[str, Any]]:
        self._rows.inc(element.num_rows)
        return to_rows(element, self._convert)


class WriteRows(beam.PTransform):
    """Tables (`pyarrow.Table`) → `FailedRow`s; all other rows are in BigQuery's table.

    Args:
        table: `project:dataset.table`; it must exist.
        schema: its columns, as in `ami_contract/generated/*.bigquery.json`.
        method: how. The Storage Write API works at least once and is reached through Beam's Java
            transform, which Dataflow and every machine with Java and Maven's repository can expand.
        write: makes Beam's own transform; a parameter for tests.
    """

    def __init__(
        self,
        table: str,
        schema: str,
        method: WriteMethod,
        *,
        write: Callable[..., beam.PTransform] = WriteToBigQuery,
    ) -> None:
        super().__init__()
        self._table = table
        self._schema = {"fields": json.loads(schema)}
        self._method = method
        self._write = write

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of tables."""
        storage = self._method is WriteMethod.STORAGE_WRITE_API
        written = (
            pcoll
            | "Rows"
            >> beam.ParDo(_RowsFn(beam_value if storage else json_value)).with_output_types(
                dict[str, Any]
            )
            | "Write"
            >> self._write(
                table=self._table,
                schema=self._schema,
                create_disposition=BigQueryDisposition.CREATE_NEVER,
                write_disposition=BigQueryDisposition.WRITE_APPEND,
                **_OPTIONS[self._method],
            )
        )
        if self._method is WriteMethod.FILE_LOADS:
            # A load job takes all of its rows or none; a job that fails is tried again.
            return pcoll | "No row fails alone" >> beam.FlatMap(_nothing).with_output_types(
                FailedRow
            )
        return written.failed_rows_with_errors | "Failed" >> beam.Map(
            _failed_storage_row if storage else _failed_insert
        ).with_output_types(FailedRow)


_OPTIONS: Final[dict[WriteMethod, dict[str, Any]]] = {
    WriteMethod.STORAGE_WRITE_API: {
        "method": WriteToBigQuery.Method.STORAGE_WRITE_API,
        "use_at_least_once": True,
        "type_overrides": {"DATE": date},
    },
    WriteMethod.STREAMING_INSERTS: {
        "method": WriteToBigQuery.Method.STREAMING_INSERTS,
        "insert_retry_strategy": RetryStrategy.RETRY_ON_TRANSIENT_ERROR,
    },
    WriteMethod.FILE_LOADS: {
        "method": WriteToBigQuery.Method.FILE_LOADS,
        "triggering_frequency": FILE_LOADS_EVERY_S,
    },
}


def _nothing(table: pa.Table) -> Iterator[FailedRow]:
    return iter(())


def _failed_insert(failed: tuple[Any, dict[str, Any], Any]) -> FailedRow:
    _, row, errors = failed
    Metrics.counter(NAMESPACE, "warehouse_failed_rows").inc()
    return FailedRow(row, json.dumps(errors, default=str))


def _failed_storage_row(failed: dict[str, Any]) -> FailedRow:
    Metrics.counter(NAMESPACE, "warehouse_failed_rows").inc()
    row = {name: json_value(value) for name, value in failed["failed_row"].items()}
    return FailedRow(row, str(failed["error_message"]))


def refused_row(failed: FailedRow) -> dict[str, Any]:
    """Dead letter of a reading that BigQuery refused.

    Its payload is the reading as JSON and its attributes are those of the message it came in, so
    that a replay brings it back the way it came. (It stands in the archive too.)
    """
    row = failed.row
    payload = orjson.dumps({field.name: row.get(field.name) for field in READING_FIELDS})
    kept = (Attribute.BATCH_ID, Attribute.GATEWAY_ID, Attribute.NETWORK_PROFILE)
    given = {name: row.get(name) for name in (*kept, Attribute.GATEWAY_INGEST_TS)}
    attributes = {str(name): value for name, value in given.items() if value}
    attributes[str(Attribute.CONTENT_TYPE)] = str(ContentType.JSON)
    ingest_ts = datetime.fromisoformat(row["ingest_ts"])
    identity = hashlib.sha256(payload).hexdigest()[:16]
    message = Message(f"{row['batch_id']}.{identity}", ingest_ts, attributes, payload)
    refusal = Refusal(
        0,
        None,
        RejectionCode.WAREHOUSE_REFUSED,
        None,
        f"BigQuery: {failed.error}",
        payload,
        row["meter_id"],
        row["pole_id"],
        row["seq"],
    )
    return dead_letter(refusal, MessageBatch("", ingest_ts, [message]))


class RefusedRows(beam.PTransform):
    """`FailedRow`s of readings → dead-letter records."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `FailedRow`."""
        return pcoll | beam.ParDo(_RefusedFn()).with_output_types(dict[str, Any])


class _RefusedFn(beam.DoFn):
    def __init__(self) -> None:
        self._refused = Metrics.counter(NAMESPACE, f"refused.{RejectionCode.WAREHOUSE_REFUSED}")

    def process(self, element: FailedRow) -> Iterator[dict[str, Any]]:
        self._refused.inc()
        yield refused_row(element)


class StoreReadings(beam.PTransform):
    """`Enriched` batches → dead-letter records of the rows that the warehouse refused.

    Args:
        write: tables → `FailedRow`s.
    """

    def __init__(self, write: beam.PTransform) -> None:
        super().__init__()
        self._write = write

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        return (
            pcoll
            | "Tables" >> beam.Map(_rows_of).with_output_types(pa.Table)
            | "Write readings" >> self._write
            | "Refused" >> RefusedRows()
        )


def _rows_of(enriched: Enriched) -> pa.Table:
    return enriched.rows
