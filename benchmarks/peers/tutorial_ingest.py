"""Ingest as streaming tutorials write it: reads one message per reading, gives lines and Parquet.

One DoFn per step and one Python dict per reading, as in the Pub/Sub → BigQuery samples of Google's
Dataflow templates and of Beam's own examples (`apache_beam/examples/streaming_wordcount.py`,
GoogleCloudPlatform/professional-services). The sinks are local files: a line per element in the
streaming graph, batches of rows as Parquet and lines in the bounded one.

    python -m benchmarks.peers.tutorial_ingest SUBSCRIPTION LINES_FILE

runs the streaming graph on Beam's own DirectRunner until it is stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.elements import Message

_REQUIRED: Final = (
    "event_ts",
    "meter_id",
    "pole_id",
    "seq",
    "voltage_v",
    "current_a",
    "power_kw",
)
_NUMBERS: Final = ("voltage_v", "current_a", "power_kw")
_ROWS_PER_FILE: Final = 10_000


class Parse(beam.DoFn):
    """Payload bytes → dict."""

    def process(self, element: bytes) -> Iterator[dict[str, Any]]:
        """The reading of one payload."""
        yield json.loads(element.decode("utf-8"))


class Validate(beam.DoFn):
    """Dict → dict with all required keys, a datetime and floats."""

    def process(self, element: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The reading when it is valid, nothing otherwise."""
        if any(name not in element for name in _REQUIRED):
            return
        element["event_ts"] = datetime.fromisoformat(element["event_ts"].replace("Z", "+00:00"))
        for name in _NUMBERS:
            element[name] = float(element[name])
        yield element


class Enrich(beam.DoFn):
    """Dict → dict with `ingest_ts` and `event_date`."""

    def process(self, element: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The row of one reading."""
        element["ingest_ts"] = datetime.now(UTC)
        element["event_date"] = element["event_ts"].date()
        yield element


class AppendLine(beam.DoFn):
    """Dict → one line more in a file."""

    def __init__(self, target: str) -> None:
        self._target = target

    def process(self, element: dict[str, Any]) -> None:
        """Append the row."""
        with Path(self._target).open("a", encoding="utf-8") as file:
            file.write(json.dumps(element, default=str) + "\n")


class PerElement(beam.PTransform):
    """The same DoFns over `MessageBatch`es of JSON arrays, on any runner, into files of rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = str(folder)

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `MessageBatch`."""
        folder = self._folder
        return (
            pcoll
            | "Messages" >> beam.FlatMap(lambda batch: batch.messages).with_output_types(Message)
            | "Readings" >> beam.FlatMap(_single_payloads).with_output_types(bytes)
            | "Parse" >> beam.ParDo(Parse())
            | "Validate" >> beam.ParDo(Validate())
            | "Enrich" >> beam.ParDo(Enrich())
            | beam.BatchElements(min_batch_size=_ROWS_PER_FILE, max_batch_size=_ROWS_PER_FILE)
            | "Write" >> beam.Map(lambda rows: _write_rows(Path(folder), rows))
        )


def _single_payloads(message: Message) -> list[bytes]:
    return [json.dumps(reading).encode() for reading in json.loads(message.data)]


def _write_rows(folder: Path, rows: list[dict[str, Any]]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    name = uuid4().hex
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet", compression="zstd")
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, default=str) + "\n" for row in rows)
    return len(rows)


def run_streaming(subscription: str, target: str) -> None:
    """Run the streaming graph until the process is stopped."""
    from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner

    options = PipelineOptions(["--streaming"])
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromPubSub(subscription=subscription)
            | "Parse" >> beam.ParDo(Parse())
            | "Validate" >> beam.ParDo(Validate())
            | "Enrich" >> beam.ParDo(Enrich())
            | "Append" >> beam.ParDo(AppendLine(target))
        )


if __name__ == "__main__":
    run_streaming(sys.argv[1], sys.argv[2])
