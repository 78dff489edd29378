"""Rows as BigQuery takes them; what it refuses becomes a dead letter that can be replayed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam import coders
from apache_beam.io.gcp.bigquery import BigQueryWriteFn
from apache_beam.io.gcp.bigquery_tools import (
    beam_row_from_dict,
    get_beam_typehints_from_tableschema,
)
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp
from google.cloud import bigquery
from ingest_helpers import BOUNDS, NOW, as_json, batch, judge, message, reading, run_over

from ami_contract.live import LIVE_AGGREGATE_FIELDS, LIVE_AGGREGATE_SCHEMA
from ami_contract.reading import ROW_FIELDS
from ami_contract.render import bigquery_schema
from beam_jobs.bigquery_sink import (
    FailedRow,
    RefusedRows,
    StoreReadings,
    WriteMethod,
    WriteRows,
    beam_value,
    json_value,
    refused_row,
    to_rows,
)
from beam_jobs.bigquery_tables import beside, ensure_tables, live_table, readings_table
from beam_jobs.decode import decode
from beam_jobs.elements import Enriched, Message
from beam_jobs.enrich import enrich
from beam_jobs.validate import validate

GATEWAY = {
    "gateway_id": "g1",
    "network_profile": "5g",
    "gateway_ingest_ts": "2026-03-01T11:31:00.5Z",
    "batch_id": "b7",
}
TABLE = "my-project:grid.raw_meter_readings"


def enriched(*readings: dict[str, Any]) -> Enriched:
    return enrich(judge(message(as_json(*readings), **GATEWAY)))


TABLE_OF_ONE = enriched(reading(1, quality_flags=["tamper"])).rows
EVENT_TS = datetime(2026, 3, 1, 11, 30, 1, tzinfo=UTC)


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    return to_rows(table, json_value)


def test_rows_equal_arrow_s_own_whatever_the_columns() -> None:
    one = enriched(reading(1, freq_hz=50.0), reading(2, quality_flags=["a", "b"]))
    other = enrich(judge(message(as_json(reading(3)), identity="without attributes")))
    for table in (
        one.rows,
        pa.concat_tables([one.rows, other.rows]),
        one.rows.slice(1),
        one.rows.slice(0, 0),
        pa.table({"d": pa.array([None, "x", "x"]).dictionary_encode(), "n": [1, None, 3]}),
    ):
        assert to_rows(table, lambda value: value) == table.to_pylist()
    assert list(json_rows(one.rows)[0]) == [field.name for field in ROW_FIELDS]


def test_inserts_and_load_jobs_get_times_as_text() -> None:
    (row,) = json_rows(enriched(reading(1, quality_flags=["tamper"])).rows)

    assert row["event_ts"] == "2026-03-01T11:30:01Z"
    assert row["gateway_ingest_ts"] == "2026-03-01T11:31:00.500000Z"
    assert row["event_date"] == "2026-03-01"
    assert (row["seq"], row["quality_flags"], row["freq_hz"]) == (1, ["tamper"], None)
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("changes", [{}, {"freq_hz": 50, "reactive_kvar": 0.5}])
def test_storage_write_rows_fit_the_schema_that_the_java_transform_is_given(
    changes: dict[str, float],
) -> None:
    table = enriched(reading(1, **changes)).rows
    schema = {"fields": json.loads(bigquery_schema(ROW_FIELDS))}
    hints = get_beam_typehints_from_tableschema(schema, {"DATE": date})
    coder = coders.registry.get_coder(RowTypeConstraint.from_fields(hints))
    (row,) = to_rows(table, beam_value)
    beam_row = beam_row_from_dict(row, schema)
    arrived = coder.decode(coder.encode(beam_row))

    assert arrived.event_ts == Timestamp.from_utc_datetime(EVENT_TS)
    assert arrived.event_date == date(2026, 3, 1)
    assert (arrived.seq, arrived.freq_hz) == (1, changes.get("freq_hz"))
    arrived_row = {name: json_value(value) for name, value in arrived._asdict().items()}
    assert [arrived_row] == json_rows(table)


def test_live_rows_fit_the_storage_write_schema_too() -> None:
    row = {
        "pole_id": "p1", "window_start": NOW, "window_s": 60, "readings": 2, "meters": 1,
        "voltage_mean_v": 230.0, "voltage_min_v": 229.0, "voltage_max_v": 231.0,
        "power_kw": 1.5, "pane": 0, "computed_ts": NOW,
    }  # fmt: skip
    schema = {"fields": json.loads(bigquery_schema(LIVE_AGGREGATE_FIELDS))}
    hints = get_beam_typehints_from_tableschema(schema, {"DATE": date})
    coder = coders.registry.get_coder(RowTypeConstraint.from_fields(hints))
    (beam_row,) = to_rows(pa.Table.from_pylist([row], LIVE_AGGREGATE_SCHEMA), beam_value)
    arrived = coder.decode(coder.encode(beam_row_from_dict(beam_row, schema)))

    assert (arrived.pole_id, arrived.window_s, arrived.power_kw) == ("p1", 60, 1.5)


class _Refusing(beam.PTransform):
    """Stands for Beam's writer: refuses negative power, as the method's own writer reports it."""

    def __init__(self, storage: bool) -> None:
        super().__init__()
        self.storage = storage

    def expand(self, pcoll: beam.PCollection) -> Any:
        storage = self.storage

        def split(row: dict[str, Any]) -> Any:
            if row["power_kw"] >= 0:
                return
            if storage:
                failure: Any = {"error_message": "too cold", "failed_row": row}
            else:
                failure = (TABLE, row, [{"reason": "invalid", "message": "too cold"}])
            yield TaggedOutput(BigQueryWriteFn.FAILED_ROWS_WITH_ERRORS, failure)

        tag = BigQueryWriteFn.FAILED_ROWS_WITH_ERRORS
        outputs = pcoll | beam.FlatMap(split).with_outputs(tag, main="main")
        return type("Result", (), {"failed_rows_with_errors": outputs[tag]})()


@pytest.mark.parametrize("method", [WriteMethod.STORAGE_WRITE_API, WriteMethod.STREAMING_INSERTS])
def test_refused_rows_come_back_with_their_reason_whatever_the_method(method: WriteMethod) -> None:
    given: dict[str, Any] = {}

    def write(**options: Any) -> beam.PTransform:
        given.update(options)
        return _Refusing(method is WriteMethod.STORAGE_WRITE_API)

    table = enriched(reading(1), reading(2, power_kw=-1.5)).rows
    transform = WriteRows(TABLE, bigquery_schema(ROW_FIELDS), method, write=write)
    (failed,) = run_over(transform, [table], pa.Table)

    assert failed.row == json_rows(table)[1]
    assert "too cold" in failed.error
    assert given["table"] == TABLE
    assert given["create_disposition"] == "CREATE_NEVER"
    assert given.get("use_at_least_once", False) is (method is WriteMethod.STORAGE_WRITE_API)


def test_a_refused_reading_becomes_a_dead_letter_that_replays_to_the_same_row() -> None:
    (letter,) = run_over(
        RefusedRows(), [FailedRow(json_rows(TABLE_OF_ONE)[0], "no such column")], FailedRow
    )
    again = Message(
        letter["message_id"],
        datetime.fromisoformat(letter["publish_time"]),
        letter["attributes"],
        letter["payload"].encode(),
    )
    replayed = enrich(validate(decode(batch(again), BOUNDS)))

    assert (letter["code"], letter["meter_id"], letter["pole_id"], letter["seq"]) == (
        "warehouse_refused", "m1", "p1", 1,
    )  # fmt: skip
    assert "no such column" in letter["detail"]
    assert replayed.rows.to_pylist() == TABLE_OF_ONE.to_pylist()


def test_refused_rows_have_ids_of_their_own() -> None:
    rows = json_rows(enriched(reading(1), reading(2)).rows)
    letters = [refused_row(FailedRow(row, "x")) for row in rows]

    assert len({letter["dead_letter_id"] for letter in letters}) == 2
    assert refused_row(FailedRow(rows[0], "y")) | {"detail": ""} == letters[0] | {"detail": ""}


class _RefuseAll(beam.PTransform):
    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        return pcoll | beam.FlatMap(
            lambda table: [FailedRow(row, "full") for row in to_rows(table, json_value)]
        )


def test_store_readings_gives_dead_letters_of_what_the_warehouse_refused() -> None:
    found = run_over(StoreReadings(_RefuseAll()), [enriched(reading(1), reading(2))])

    assert [orjson.loads(letter["payload"])["seq"] for letter in found] == [1, 2]


@pytest.mark.parametrize("method", [WriteMethod.STREAMING_INSERTS, WriteMethod.FILE_LOADS])
def test_the_writers_of_beam_take_our_options(method: WriteMethod) -> None:
    options = PipelineOptions(
        ["--streaming", "--project=my-project", "--temp_location=gs://my-bucket/tmp"]
    )
    pipeline = beam.Pipeline(options=options)
    tables = pipeline | beam.Create([TABLE_OF_ONE]).with_output_types(pa.Table)
    _ = tables | WriteRows(TABLE, bigquery_schema(ROW_FIELDS), method)

    assert pipeline.to_runner_api().components.transforms


def test_readings_are_partitioned_by_day_and_clustered_by_pole_and_meter() -> None:
    table = readings_table(TABLE)

    assert str(table.reference) == "my-project.grid.raw_meter_readings"
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("DAY", "event_ts")
    assert table.clustering_fields == ["pole_id", "meter_id"]
    assert table.require_partition_filter
    assert [field.name for field in table.schema] == [field.name for field in ROW_FIELDS]
    flags = next(field for field in table.schema if field.name == "quality_flags")
    assert (flags.field_type, flags.mode) == ("STRING", "REPEATED")


def test_live_aggregates_lie_beside_the_readings() -> None:
    table = live_table(TABLE)

    assert beside(TABLE, "x") == "my-project:grid.x"
    assert str(table.reference) == "my-project.grid.minute_agg_pole_live"
    assert (table.time_partitioning.field, table.clustering_fields) == ("window_start", ["pole_id"])


def test_tables_that_exist_are_left_as_they_are() -> None:
    class Client:
        def __init__(self) -> None:
            self.made: list[tuple[str, bool]] = []

        def create_table(self, table: bigquery.Table, exists_ok: bool) -> None:
            self.made.append((table.table_id, exists_ok))

    client = Client()
    ensure_tables(client, [readings_table(TABLE), live_table(TABLE)])

    assert client.made == [("raw_meter_readings", True), ("minute_agg_pole_live", True)]
