"""The ingest graph: reads `MessageBatch` elements, gives archive, landing and dead letter.

    decode ─ validate ─ enrich ─┬─ archive
                                ├─ landing
                                └─ dead letter

Only wiring stands here; each step is a small transform over a pure function of its own module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apache_beam as beam
from apache_beam.metrics import Metrics

from ami_contract.lake import DataDir
from beam_jobs.decode import PayloadBounds, decode
from beam_jobs.elements import Decoded, Enriched, MessageBatch, Validated
from beam_jobs.enrich import enrich, latencies_ms
from beam_jobs.sinks import write_archive, write_deadletter, write_landing
from beam_jobs.validate import validate

NAMESPACE: Final = "ami.ingest"


class _DecodeFn(beam.DoFn):
    def __init__(self, bounds: PayloadBounds) -> None:
        self._bounds = bounds
        self._messages = Metrics.counter(NAMESPACE, "messages")
        self._bytes = Metrics.counter(NAMESPACE, "payload_bytes")
        self._decoded = Metrics.counter(NAMESPACE, "decoded")
        self._unknown_fields = Metrics.counter(NAMESPACE, "unknown_fields")

    def process(self, element: MessageBatch) -> Iterator[Decoded]:
        decoded = decode(element, self._bounds)
        self._messages.inc(len(element.messages))
        self._bytes.inc(element.payload_bytes)
        self._decoded.inc(decoded.readings.num_rows)
        self._unknown_fields.inc(decoded.unknown_fields)
        yield decoded


class Decode(beam.PTransform):
    """`MessageBatch` → `Decoded`; counts messages, payload bytes, readings, unknown fields."""

    def __init__(self, bounds: PayloadBounds) -> None:
        super().__init__()
        self._bounds = bounds

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `MessageBatch`."""
        return pcoll | beam.ParDo(_DecodeFn(self._bounds)).with_output_types(Decoded)


class Validate(beam.PTransform):
    """`Decoded` → `Validated`; counts refusals by code."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Decoded`."""
        return pcoll | beam.Map(_validate).with_output_types(Validated)


class Enrich(beam.PTransform):
    """`Validated` → `Enriched`; counts rows, measures how old they are."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Validated`."""
        return pcoll | beam.Map(_enrich).with_output_types(Enriched)


def _validate(decoded: Decoded) -> Validated:
    validated = validate(decoded)
    refused: Counter[str] = Counter()
    for refusal in validated.refusals:
        refused[refusal.code] += refusal.readings or 1
    for code, count in refused.items():
        Metrics.counter(NAMESPACE, f"refused.{code}").inc(count)
    return validated


def _enrich(validated: Validated) -> Enriched:
    enriched = enrich(validated)
    Metrics.counter(NAMESPACE, "stored").inc(enriched.rows.num_rows)
    for name, values_ms in latencies_ms(validated.readings, enriched.rows).items():
        distribution = Metrics.distribution(NAMESPACE, name)
        for value_ms in values_ms:
            distribution.update(value_ms)
    return enriched


class WriteArchive(beam.PTransform):
    """Messages of `Enriched` batches as archive segments → the same batches, now archived."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._data = DataDir(root)

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        data = self._data

        def archive(batch: Enriched) -> Enriched:
            write_archive(data, batch)
            return batch

        return pcoll | beam.Map(archive).with_output_types(Enriched)


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
            # First and alone, so that the archive can rebuild whatever is landed.
            pcoll = pcoll | "Archive" >> WriteArchive(self._root)
        _ = pcoll | "Landing" >> WriteLanding(self._root)
        return pcoll | "Dead letter" >> WriteDeadLetter(self._root)


class Ingest(beam.PTransform):
    """`MessageBatch` → stored readings: the whole graph.

    Args:
        root: the data folder.
        bounds: a larger payload is refused.
        archive: as for `Store`.
    """

    def __init__(self, root: Path, bounds: PayloadBounds, *, archive: bool = True) -> None:
        super().__init__()
        self._root = root
        self._bounds = bounds
        self._archive = archive

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `MessageBatch`."""
        return (
            pcoll
            | "Decode" >> Decode(self._bounds)
            | "Validate" >> Validate()
            | "Enrich" >> Enrich()
            | "Store" >> Store(self._root, archive=self._archive)
        )
