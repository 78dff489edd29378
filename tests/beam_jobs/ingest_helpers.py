"""Readings, payloads, batches and what became of them, for the tests of this folder."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.test_stream import TestStream

from ami_contract.errors import AmiError
from ami_contract.lake import DataDir
from ami_contract.reading import READING_FIELDS, WIRE_SCHEMA, ContentType
from beam_jobs.decode import PayloadBounds, decode
from beam_jobs.elements import Message, MessageBatch, Validated
from beam_jobs.source import Received
from beam_jobs.validate import validate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT_TS = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
BOUNDS = PayloadBounds(max_payload_bytes=8 * 1024 * 1024, max_decoded_bytes=64 * 1024 * 1024)
JSON = ContentType.JSON.value
NDJSON = ContentType.NDJSON.value
ARROW = ContentType.ARROW.value
FIELD_NAMES = tuple(f.name for f in READING_FIELDS)


def reading(number: int = 1, /, **changes: Any) -> dict[str, Any]:
    """A valid reading as it stands in JSON; a change to `...` leaves the field out."""
    found = {
        "event_ts": (EVENT_TS + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
        "meter_id": "m1",
        "pole_id": "p1",
        "seq": number,
        "voltage_v": 240.5,
        "current_a": 4.5,
        "power_kw": 1.25,
    }
    return {name: value for name, value in (found | changes).items() if value is not ...}


def as_json(*readings: Any) -> bytes:
    return json.dumps(readings[0] if len(readings) == 1 else list(readings)).encode()


def as_ndjson(*readings: Any) -> bytes:
    return b"\n".join(json.dumps(r).encode() for r in readings)


def arrow_table(*readings: dict[str, Any]) -> pa.Table:
    """Readings in the contract's Arrow types, absent fields null."""
    rows = [r | {"event_ts": datetime.fromisoformat(r["event_ts"])} for r in readings]
    schema = pa.schema([pa.field(f.name, f.type) for f in WIRE_SCHEMA])
    return pa.Table.from_pylist(rows, schema)


def as_arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def message(
    data: bytes, content_type: str | None = JSON, *, identity: str = "1", **attributes: str
) -> Message:
    claimed = {} if content_type is None else {"content_type": content_type}
    return Message(identity, NOW - timedelta(seconds=1), claimed | attributes, data)


def batch(*messages: Message, segment: str = "seg") -> MessageBatch:
    return MessageBatch(segment, NOW, list(messages))


def judge(*messages: Message) -> Validated:
    """Decode and validate messages as one batch."""
    return validate(decode(batch(*messages), BOUNDS))


def stored_rows(data: DataDir) -> list[dict[str, Any]]:
    """Every landed row."""
    files = sorted(data.landing.rglob("[!.]*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def json_lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of the segments below an archive or dead-letter folder."""
    return [
        orjson.loads(line)
        for path in sorted((folder / "segments").rglob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def archived_counts(data: DataDir, segment: str) -> list[tuple[str, int]]:
    """Message id and number of archived readings of every message in a segment's files."""
    folder = data.archive / "segments"
    lines = [
        orjson.loads(line)
        for path in folder.rglob(f"{segment}.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    rows = [
        row
        for path in folder.rglob(f"{segment}.arrow")
        for row in pa.ipc.open_file(path).read_all().to_pylist()
    ]
    return [(line["message_id"], len(line["readings"])) for line in lines] + [
        (row["message_id"], pa.ipc.open_stream(row["payload"]).read_all().num_rows) for row in rows
    ]


def dead_letters(data: DataDir) -> list[dict[str, Any]]:
    return json_lines(data.deadletter)


def payload_of(letter: dict[str, Any], data: DataDir) -> bytes:
    """The whole payload a dead letter stands for."""
    digest = letter["payload_sha256"]
    if digest:
        content = (data.deadletter_payloads / digest).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        return content
    if "payload_base64" in letter:
        return base64.b64decode(letter["payload_base64"])
    return str(letter["payload"]).encode()


def files_below(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


class QueueSource:
    """A `Source` in memory: hands out what is queued, notes what is settled.

    Args:
        messages: to hand out, in order.
        per_pull: most messages of one pull.
        troubles: raised by the next pulls, one each; None lets a pull through.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        per_pull: int = 1000,
        troubles: Sequence[AmiError | None] = (),
    ) -> None:
        self.queue = [Received(f"ack-{m.message_id}", m) for m in messages]
        self.per_pull = per_pull
        self.troubles = list(troubles)
        self.pulls = 0
        self.acknowledged: list[str] = []
        self.released: list[str] = []
        self.extended: list[str] = []

    def pull(self, max_messages: int, timeout_s: float) -> list[Received]:
        self.pulls += 1
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble:
            raise trouble
        count = min(max_messages, self.per_pull)
        taken, self.queue = self.queue[:count], self.queue[count:]
        if not taken:
            time.sleep(min(timeout_s, 0.02))
        return taken

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        self.acknowledged += ack_ids

    def extend(self, ack_ids: Sequence[str]) -> None:
        self.extended += ack_ids

    def release(self, ack_ids: Sequence[str]) -> None:
        self.released += ack_ids


TestStream.__test__ = False  # it is no test class
_COLLECTED: dict[str, list[Any]] = {}


class Collect(beam.PTransform):
    """Notes every element in this process's memory, under a name of its own; passes none on."""

    def __init__(self) -> None:
        super().__init__()
        self.name = uuid4().hex
        _COLLECTED[self.name] = []

    @property
    def found(self) -> list[Any]:
        return _COLLECTED[self.name]

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        name = self.name

        def note(element: Any) -> Iterator[Any]:
            from ingest_helpers import _COLLECTED as COLLECTED

            COLLECTED[name].append(element)
            return iter(())

        return pcoll | beam.FlatMap(note)


def streamed(transform: beam.PTransform, stream: TestStream) -> list[Any]:
    """What comes out of a transform that a stream of elements and watermarks goes through."""
    collect = Collect()
    options = PipelineOptions(["--streaming"])
    pipeline = beam.Pipeline(runner=BundleBasedDirectRunner(), options=options)
    _ = pipeline | stream | transform | collect
    pipeline.run().wait_until_finish()
    return collect.found


def run_over(transform: beam.PTransform, elements: Sequence[Any], of: Any = Any) -> list[Any]:
    """What comes out of a transform over one bundle of elements."""
    collect = Collect()
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    _ = (
        pipeline
        | beam.Create([list(elements)])
        | "One by one" >> beam.FlatMap(lambda found: found).with_output_types(of)
        | transform
        | collect
    )
    pipeline.run().wait_until_finish()
    return collect.found
