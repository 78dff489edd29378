"""The ingest graph: reads `MessageBatch` elements, gives archive, landing and dead letter.

    decode ─ validate ─ enrich ─┬─ archive
                                ├─ landing
                                └─ dead letter

Only wiring stands here; each step is a small transform over a pure function of its own module.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apache_beam as beam
from apache_beam.metrics import Metrics

from ami_contract.lake import DataDir
from beam_jobs.decode import decode
from beam_jobs.elements import Decoded, Enriched, MessageBatch, Validated
from beam_jobs.enrich import enrich
from beam_jobs.sinks import write_archive, write_deadletter, write_landing
from beam_jobs.validate import validate

NAMESPACE: Final = "ami.ingest"


class _DecodeFn(beam.DoFn):
    def __init__(self, max_payload_bytes: int) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._messages = Metrics.counter(NAMESPACE, "messages")
        self._bytes = Metrics.counter(NAMESPACE, "payload_bytes")
        self._unknown_fields = Metrics.counter(NAMESPACE, "unknown_fields")

    def process(self, element: MessageBatch) -> Iterator[Decoded]:
        decoded = decode(element, max_payload_bytes=self._max_payload_bytes)
        self._messages.inc(len(element.messages))
        self._bytes.inc(sum(len(message.data) for message in element.messages))
        self._unknown_fields.inc(decoded.unknown_fields)
        yield decoded


class Decode(beam.PTransform):
    """`MessageBatch` → `Decoded`."""

    def __init__(self, max_payload_bytes: int) -> None:
        super().__init__()
        self._max_payload_bytes = max_payload_bytes

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `MessageBatch`."""
        return pcoll | beam.ParDo(_DecodeFn(self._max_payload_bytes))


class Validate(beam.PTransform):
    """`Decoded` → `Validated`."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Decoded`."""
        return pcoll | beam.Map(_validate)


class Enrich(beam.PTransform):
    """`Validated` → `Enriched`."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Validated`."""
        return pcoll | beam.Map(_enrich)


def _validate(decoded: Decoded) -> Validated:
    validated = validate(decoded)
    for refusal in validated.refusals:
        Metrics.counter(NAMESPACE, f"refused.{refusal.code}").inc()
    return validated


def _enrich(validated: Validated) -> Enriched:
    enriched = enrich(validated)
    Metrics.counter(NAMESPACE, "stored").inc(enriched.rows.num_rows)
    return enriched


class WriteArchive(beam.PTransform):
    """Messages of `Enriched` batches as archive segments → their paths."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._data = DataDir(root)

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        data = self._data
        return pcoll | beam.FlatMap(lambda batch: write_archive(data, batch))


class WriteLanding(beam.PTransform):
    """Rows of `Enriched` batches as landed files by hour → their paths."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._data = DataDir(root)

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        data = self._data
        return pcoll | beam.FlatMap(
            lambda batch: write_landing(data, batch.batch.segment, batch.rows)
        )


class WriteDeadLetter(beam.PTransform):
    """Refusals of `Enriched` batches as dead-letter segments → their paths."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._data = DataDir(root)

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        data = self._data
        return pcoll | beam.Map(lambda batch: write_deadletter(data, batch.batch, batch.refusals))


class Store(beam.PTransform):
    """`Enriched` batches → archive, landing and dead letter below one data folder.

    Args:
        root: the data folder.
        archive: False leaves the archive out, for input that is not a message.
    """

    def __init__(self, root: Path, *, archive: bool = True) -> None:
        super().__init__()
        self._root = root
        self._archive = archive

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        if self._archive:
            _ = pcoll | "Archive" >> WriteArchive(self._root)
        _ = pcoll | "Landing" >> WriteLanding(self._root)
        return pcoll | "Dead letter" >> WriteDeadLetter(self._root)


class Ingest(beam.PTransform):
    """`MessageBatch` → stored readings: the whole graph.

    Args:
        root: the data folder.
        max_payload_bytes: a larger payload is refused unread.
    """

    def __init__(self, root: Path, *, max_payload_bytes: int) -> None:
        super().__init__()
        self._root = root
        self._max_payload_bytes = max_payload_bytes

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `MessageBatch`."""
        return (
            pcoll
            | "Decode" >> Decode(self._max_payload_bytes)
            | "Validate" >> Validate()
            | "Enrich" >> Enrich()
            | "Store" >> Store(self._root)
        )
