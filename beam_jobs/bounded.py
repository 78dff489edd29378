"""Bounded runs of a Beam graph in this process: reads elements in memory, gives their counters.

Payloads never pass through `beam.Create` (it pickles them into the pipeline); the pipeline carries
a token and its first step takes the elements from this process's memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

_SPOOL: dict[str, Iterable[Any]] = {}


class _FromSpool(beam.DoFn):
    def process(self, element: str) -> Iterator[Any]:
        yield from _SPOOL[element]


def run_bounded(elements: Iterable[Any], transform: beam.PTransform) -> dict[str, int]:
    """Run `elements` through `transform` to the end, in this process.

    Returns:
        Committed counters by name.

    Raises:
        Exception: as raised by a step; the runner keeps its type.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    token = uuid4().hex
    _SPOOL[token] = elements
    try:
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
        _ = pipeline | beam.Create([token]) | "Take" >> beam.ParDo(_FromSpool()) | transform
        result = pipeline.run()
        result.wait_until_finish()
    finally:
        del _SPOOL[token]
    found = result.metrics().query()["counters"]
    return {counter.key.metric.name: counter.committed or counter.attempted for counter in found}
