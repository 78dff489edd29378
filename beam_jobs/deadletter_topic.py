"""Cloud dead letter: reads refusals, gives JSON records to a Pub/Sub topic or to files.

A record is the one of `beam_jobs.sinks.dead_letter`. A payload longer than the record shows is
first stored whole as `<root>/payloads/<sha256>`, so a record never names a file that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import apache_beam as beam
import orjson
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.pubsub import PubsubMessage, WriteToPubSub
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from ami_contract.lake import hour_folder
from beam_jobs.elements import Enriched
from beam_jobs.pipeline import NAMESPACE
from beam_jobs.sinks import dead_letter
from beam_jobs.windowed_files import FileKey, WriteWindowedFiles, write_object

FILE_WINDOW_S: Final = 60
_FORM: Final = "jsonl"


class DeadLetterRecords(beam.PTransform):
    """Refusals of `Enriched` batches → records, long payloads stored.

    Args:
        root: dead-letter folder, `gs://bucket/deadletter` as a rule.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = root

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        return pcoll | beam.ParDo(_RecordFn(self._root)).with_output_types(dict[str, Any])


class _RecordFn(beam.DoFn):
    def __init__(self, root: str) -> None:
        self._root = root
        self._whole = Metrics.counter(NAMESPACE, "dead_letter_payload_files")

    def process(self, element: Enriched) -> Iterator[dict[str, Any]]:
        for refusal in element.refusals:
            record = dead_letter(refusal, element.batch)
            if record["payload_sha256"]:
                path = FileSystems.join(self._root, "payloads", record["payload_sha256"])
                write_object(path, refusal.payload)
                self._whole.inc()
            yield record


def to_pubsub(record: dict[str, Any]) -> PubsubMessage:
    """A record as a message; code and content type stand in its attributes, for filters."""
    return PubsubMessage(
        orjson.dumps(record),
        {"content_type": "application/json", "code": str(record["code"])},
    )


class PublishDeadLetters(beam.PTransform):
    """Records → a Pub/Sub topic.

    Args:
        topic: `projects/…/topics/…`.
    """

    def __init__(self, topic: str) -> None:
        super().__init__()
        self._topic = topic

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of records."""
        return (
            pcoll
            | "To message" >> beam.Map(to_pubsub).with_output_types(PubsubMessage)
            | "Publish" >> WriteToPubSub(self._topic, with_attributes=True)
        )


class FileDeadLetters(beam.PTransform):
    """Records → paths of `segments/dt=…/hr=…/*.jsonl`, by hour of `ingest_ts`.

    Args:
        root: dead-letter folder, `gs://bucket/deadletter` as a rule.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = root

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of records."""
        return (
            pcoll
            | "By hour" >> beam.Map(_keyed).with_output_types(tuple[FileKey, bytes])
            | "Write files" >> WriteWindowedFiles(self._root, FILE_WINDOW_S, "dead_letter")
        )


def _keyed(record: dict[str, Any]) -> TimestampedValue:
    ingest_ts = datetime.fromisoformat(record["ingest_ts"]).astimezone(UTC)
    key = (f"segments/{hour_folder(ingest_ts)}", _FORM)
    return TimestampedValue(
        (key, orjson.dumps(record) + b"\n"), Timestamp.from_utc_datetime(ingest_ts)
    )
