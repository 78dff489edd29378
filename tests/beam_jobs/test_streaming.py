"""The whole streaming graph, bounded: what arrives is archived or refused, rows in the sink."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from ingest_helpers import (
    ARROW,
    BOUNDS,
    EVENT_TS,
    JSON,
    NDJSON,
    NOW,
    Collect,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    reading,
)

from beam_jobs.bigquery_sink import FailedRow, WriteMethod, json_value
from beam_jobs.bounded import BoundedGraph
from beam_jobs.streaming import StreamConfig, StreamIngest, Warehouse, build

CONFIG = StreamConfig(
    "projects/my-project/subscriptions/sub",
    "my-project:grid.raw_meter_readings",
    WriteMethod.STREAMING_INSERTS,
    "gs://bucket/raw",
    "gs://bucket/deadletter",
    1,
    None,
    0,
    BOUNDS,
    100,
    1024 * 1024,
    0,
)
START = int(EVENT_TS.timestamp())
MINUTE = "dt=2026-03-01/hr=11/min="


def clock() -> datetime:
    return NOW


def as_json_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: json_value(value) for name, value in row.items()}


class Capture(beam.PTransform):
    """A warehouse in memory that refuses the rows of one meter."""

    def __init__(self, refused_meter: str | None = None) -> None:
        super().__init__()
        self.collect = Collect()
        self.refused_meter = refused_meter

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        refused = self.refused_meter
        rows = pcoll | "Rows" >> beam.FlatMap(lambda table: table.to_pylist())
        _ = (
            rows
            | "Taken" >> beam.Filter(lambda row: row.get("meter_id") != refused or not refused)
            | self.collect
        )
        return (
            rows
            | "Not taken" >> beam.Filter(lambda row: refused and row.get("meter_id") == refused)
            | beam.Map(lambda row: FailedRow(as_json_row(row), "no")).with_output_types(FailedRow)
        )


def local(folder: Path, **changes: Any) -> StreamConfig:
    return replace(
        CONFIG,
        archive_root=str(folder / "raw"),
        deadletter_root=str(folder / "deadletter"),
        **changes,
    )


def sent(after_s: float, data: bytes, content_type: str = JSON, **attributes: str) -> Any:
    """A message as `ReadFromPubSub` gives it, published `after_s` seconds after `EVENT_TS`."""
    instant = EVENT_TS + timedelta(seconds=after_s)
    identity = f"id-{after_s:g}"
    received = PubsubMessage(data, {"content_type": content_type, **attributes}, identity, instant)
    return TimestampedValue(received, instant.timestamp())


def run(config: StreamConfig, warehouse: Warehouse, *messages: Any) -> None:
    """Run the graph over messages in the order of their publishing."""
    stream = TestStream().with_output_types(PubsubMessage).advance_watermark_to(START)
    for element in messages:
        stream = stream.add_elements([element])
        stream = stream.advance_watermark_to(element.timestamp)
    pipeline = beam.Pipeline(
        runner=BundleBasedDirectRunner(), options=PipelineOptions(["--streaming"])
    )
    _ = (
        pipeline
        | stream.advance_watermark_to_infinity()
        | StreamIngest(config, warehouse, now=clock)
    )
    pipeline.run().wait_until_finish()


def archived(folder: Path) -> dict[str, list[int]]:
    """seq of the archived readings, by folder of pole and minute."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            seqs = [r["seq"] for r in orjson.loads(line)["readings"]]
            found.setdefault(str(path.parent.relative_to(folder)), []).extend(seqs)
    for path in sorted(folder.rglob("*.arrow")):
        for row in pa.ipc.open_file(path).read_all().to_pylist():
            table = pa.ipc.open_stream(io.BytesIO(row["payload"])).read_all()
            place = str(path.parent.relative_to(folder))
            found.setdefault(place, []).extend(table["seq"].to_pylist())
    return {place: sorted(seqs) for place, seqs in found.items()}


def letters(folder: Path) -> list[dict[str, Any]]:
    return [
        orjson.loads(line)
        for path in sorted((folder / "segments").rglob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


MESSAGES = (
    sent(1, as_json(reading(1)), gateway_id="g1", batch_id="b1"),
    sent(2, as_json(reading(2), reading(3, seq=-3), reading(4, pole_id="p2"))),
    sent(3, b"{not json"),
    sent(4, as_arrow(arrow_table(reading(5), reading(6, voltage_v=-1.0))), ARROW),
    sent(5, as_ndjson(reading(7), {"seq": 8}), NDJSON),
    sent(6, b"[" + b"x" * 6000),
    sent(61, as_json(reading(9, meter_id="unwanted"), reading(60))),
    sent(4000, as_json(reading(10))),
)


@pytest.fixture
def capture() -> Capture:
    return Capture()


def test_all_that_arrives_is_in_archive_or_dead_letter_and_valid_rows_in_the_warehouse(
    tmp_path: Path, capture: Capture
) -> None:
    run(local(tmp_path), Warehouse(capture, Capture()), *MESSAGES)

    assert archived(tmp_path / "raw") == {
        f"pole_id=p1/{MINUTE}30": [1, 2, 5, 7, 9, 10],
        f"pole_id=p1/{MINUTE}31": [60],
        f"pole_id=p2/{MINUTE}30": [4],
    }
    assert sorted(
        (r["message_id"], r["row"], r["code"]) for r in letters(tmp_path / "deadletter")
    ) == [
        ("id-2", 1, "out_of_range"),
        ("id-3", None, "invalid_json"),
        ("id-4", 1, "out_of_range"),
        ("id-5", 1, "missing_field"),
        ("id-6", None, "invalid_json"),
    ]
    rows = capture.collect.found
    assert sorted(row["seq"] for row in rows) == [1, 2, 4, 5, 7, 9, 10, 60]
    assert {(r["gateway_id"], r["batch_id"]) for r in rows if r["seq"] == 1} == {("g1", "b1")}
    assert {row["ingest_ts"] for row in rows} == {NOW}


def test_a_late_reading_gets_a_file_of_its_own(tmp_path: Path, capture: Capture) -> None:
    run(local(tmp_path), Warehouse(capture, Capture()), *MESSAGES)

    files = list((tmp_path / "raw" / "pole_id=p1" / f"{MINUTE}30").glob("*.jsonl"))
    assert sorted(archived_seqs(path) for path in files) == [[1, 2, 7, 9], [10]]


def archived_seqs(path: Path) -> list[int]:
    lines = path.read_bytes().splitlines()
    return sorted(r["seq"] for line in lines for r in orjson.loads(line)["readings"])


def test_a_compressed_payload_is_archived_in_plain(tmp_path: Path, capture: Capture) -> None:
    packed = gzip.compress(as_json(reading(1), reading(2)))
    run(
        local(tmp_path),
        Warehouse(capture, Capture()),
        sent(1, packed, content_encoding="gzip", gateway_id="g1"),
    )

    (path,) = (tmp_path / "raw").rglob("*.jsonl")
    (line,) = path.read_bytes().splitlines()
    assert archived_seqs(path) == [1, 2]
    assert orjson.loads(line)["attributes"] == {"content_type": JSON, "gateway_id": "g1"}


def test_rows_that_the_warehouse_refuses_join_the_dead_letters(tmp_path: Path) -> None:
    capture = Capture(refused_meter="unwanted")
    run(local(tmp_path), Warehouse(capture, Capture()), *MESSAGES)

    refused = [r for r in letters(tmp_path / "deadletter") if r["code"] == "warehouse_refused"]
    assert [(r["meter_id"], r["seq"]) for r in refused] == [("unwanted", 9)]
    assert 9 not in [row["seq"] for row in capture.collect.found]


def test_with_a_window_the_stream_writes_aggregates_too(tmp_path: Path, capture: Capture) -> None:
    live = Capture()
    run(local(tmp_path, window_s=60), Warehouse(capture, live), *MESSAGES[:2])

    assert sorted(
        (row["pole_id"], row["readings"], row["power_kw"]) for row in live.collect.found
    ) == [("p1", 2, 1.25), ("p2", 1, 1.25)]


def test_a_redelivered_run_overwrites_its_own_files(tmp_path: Path) -> None:
    def names() -> list[Path]:
        run(local(tmp_path), Warehouse(Capture(), Capture()), *MESSAGES)
        return sorted(path for path in tmp_path.rglob("*") if path.is_file())

    assert names() == names()


def test_the_graph_counts_what_it_does_over_a_bounded_bundle(
    tmp_path: Path, capture: Capture
) -> None:
    messages = [element.value for element in MESSAGES]
    graph = StreamIngest(local(tmp_path), Warehouse(capture, Capture()), now=clock)
    counters = BoundedGraph(graph, PubsubMessage).run(messages).counters

    assert sorted(row["seq"] for row in capture.collect.found) == [1, 2, 4, 5, 7, 9, 10, 60]
    assert sum(len(seqs) for seqs in archived(tmp_path / "raw").values()) == 8
    files = [path for path in tmp_path.rglob("*.*") if path.is_file()]
    archive = [path for path in files if path.is_relative_to(tmp_path / "raw")]
    sinks = ("warehouse", "archive", "dead_letter")
    assert {name: counters[name] for name in counters if name.startswith(sinks)} == {
        "archive_files": len(archive),
        "archive_bytes": sum(path.stat().st_size for path in archive),
        "dead_letter_files": 1,
        "dead_letter_bytes": sum(
            path.stat().st_size for path in (tmp_path / "deadletter").rglob("*.jsonl")
        ),
        "dead_letter_payload_files": 1,
    }
    assert (counters["messages"], counters["stored"]) == (8, 8)


def test_steps_have_names_that_an_update_of_the_job_can_match() -> None:
    pipeline = beam.Pipeline(
        options=PipelineOptions(
            ["--streaming", "--project=my-project", "--temp_location=gs://bucket/tmp"]
        )
    )
    build(pipeline, replace(CONFIG, window_s=60))
    proto = pipeline.to_runner_api()
    names = {transform.unique_name for transform in proto.components.transforms.values()}

    assert {
        "Read",
        "Ingest/Group",
        "Ingest/Decode",
        "Ingest/Validate",
        "Ingest/Enrich",
        "Ingest/Archive/Write files/Group",
        "Ingest/Store readings",
        "Ingest/Aggregate/Merge",
        "Ingest/Store aggregates",
        "Ingest/Dead letter",
    } <= names
