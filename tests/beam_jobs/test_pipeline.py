"""Each transform of the graph alone, under Beam, and the graph as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as beam_testing
from apache_beam.testing.util import assert_that, equal_to
from ingest_helpers import (
    BOUNDS,
    as_json,
    batch,
    dead_letters,
    files_below,
    json_lines,
    judge,
    message,
    reading,
    stored_rows,
)

from ami_contract.errors import LakeError, RejectionCode
from ami_contract.lake import DataDir
from beam_jobs.bounded import BoundedGraph, Distribution
from beam_jobs.decode import PayloadBounds, decode
from beam_jobs.elements import Enriched
from beam_jobs.enrich import enrich
from beam_jobs.pipeline import (
    Decode,
    Enrich,
    Ingest,
    Store,
    Validate,
    WriteArchive,
    WriteDeadLetter,
    WriteLanding,
)

MIXED = batch(
    message(as_json(reading(1), reading(2, seq=-1), reading(3)), identity="a", batch_id="b1"),
    message(b"{", identity="b"),
    message(as_json(reading(4, phase="L1")), identity="c"),
)


def outputs(
    transform: beam.PTransform,
    element: Any,
    shown: Callable[[Any], Any],
    expected: list[Any],
) -> None:
    """Run one element through a transform and compare what comes out."""
    with beam_testing.TestPipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        found = pipeline | beam.Create([element]) | transform | "Show" >> beam.Map(shown)
        assert_that(found, equal_to(expected))


def mixed() -> Enriched:
    return enrich(judge(*MIXED.messages))


def test_decode_gives_columns_and_undecodable_payloads() -> None:
    outputs(
        Decode(BOUNDS),
        MIXED,
        lambda d: (
            d.readings["seq"].to_pylist(),
            [(r.message, r.code) for r in d.refusals],
            d.unknown_fields,
        ),
        [([1, -1, 3, 4], [(1, RejectionCode.INVALID_JSON)], 1)],
    )


def test_decode_refuses_by_its_own_bound() -> None:
    outputs(
        Decode(PayloadBounds(len(MIXED.messages[2].data), 1000)),
        MIXED,
        lambda d: [(r.message, r.code) for r in d.refusals if r.code != "invalid_json"],
        [[(0, RejectionCode.PAYLOAD_TOO_LARGE)]],
    )


def test_validate_keeps_the_valid_rows_and_says_why_of_the_rest() -> None:
    outputs(
        Validate(),
        decode(MIXED, BOUNDS),
        lambda v: (v.readings["seq"].to_pylist(), [(r.message, r.row) for r in v.refusals]),
        [([1, 3, 4], [(1, None), (0, 1)])],
    )


def test_enrich_gives_rows_with_their_batch() -> None:
    outputs(
        Enrich(),
        judge(*MIXED.messages),
        lambda e: list(zip(*e.rows.select(["seq", "batch_id"]).to_pydict().values(), strict=True)),
        [[(1, "b1"), (3, "b1"), (4, "c")]],
    )


def test_write_archive_hands_on_a_batch_once_it_is_archived(data: DataDir) -> None:
    path = data.archive / "segments/dt=2026-03-01/hr=12/seg.jsonl"
    outputs(
        WriteArchive(data.root),
        mixed(),
        lambda e: (e.batch.segment, path.exists()),
        [("seg", True)],
    )

    assert [line["message_id"] for line in json_lines(data.archive)] == ["a", "c"]


def test_write_landing_gives_the_paths_of_its_hours(data: DataDir) -> None:
    path = data.landing / "dt=2026-03-01/hr=11/seg.r3.parquet"
    outputs(WriteLanding(data.root), mixed(), str, [str(path)])

    assert pq.read_table(path)["seq"].to_pylist() == [1, 3, 4]


def test_write_dead_letter_gives_the_path_of_its_segment(data: DataDir) -> None:
    path = data.deadletter / "segments/dt=2026-03-01/hr=12/seg.jsonl"
    outputs(WriteDeadLetter(data.root), mixed(), str, [str(path)])

    assert {(r["message_id"], r["row"]) for r in dead_letters(data)} == {("a", 1), ("b", None)}


@pytest.mark.parametrize("archive", [True, False])
def test_store_writes_all_sinks_and_the_archive_on_request(data: DataDir, archive: bool) -> None:
    outputs(
        Store(data.root, archive=archive),
        mixed(),
        lambda path: Path(path).name,
        ["seg.jsonl"],
    )

    assert data.archive.exists() is archive
    assert (len(stored_rows(data)), len(dead_letters(data))) == (3, 2)


def test_the_graph_stores_a_batch_and_counts_what_it_did(data: DataDir) -> None:
    counters = BoundedGraph(Ingest(data.root, BOUNDS)).run([MIXED]).counters

    assert counters == {
        "messages": 3,
        "payload_bytes": sum(len(m.data) for m in MIXED.messages),
        "decoded": 4,
        "unknown_fields": 1,
        "stored": 3,
        "refused.invalid_json": 1,
        "refused.out_of_range": 1,
    }
    assert [r["seq"] for r in stored_rows(data)] == [1, 3, 4]


def test_the_graph_measures_the_age_of_each_message(data: DataDir) -> None:
    gateway = "2026-03-01T11:59:59Z"
    element = batch(
        message(as_json(reading(1)), gateway_ingest_ts=gateway), message(as_json(reading(11)))
    )
    found = BoundedGraph(Ingest(data.root, BOUNDS)).run([element]).distributions

    assert found == {
        "latency_event_ms": Distribution(2, 2 * 1_800_000 - 12_000, 1_789_000, 1_799_000),
        "latency_gateway_ms": Distribution(1, 1000, 1000, 1000),
    }


def test_elements_survive_the_coder_that_beam_moves_them_with() -> None:
    enriched = mixed()
    coder = beam.coders.registry.get_coder(Enriched)
    again = coder.decode(coder.encode(enriched))

    assert again.rows.equals(enriched.rows)
    assert (again.batch, again.refusals) == (enriched.batch, enriched.refusals)
    assert 0 < coder.estimate_size(enriched) < 100_000


def test_several_batches_of_one_run_become_several_segments(data: DataDir) -> None:
    batches = [batch(message(as_json(reading(i))), segment=f"s{i}") for i in range(3)]
    counters = BoundedGraph(Ingest(data.root, BOUNDS)).run(batches).counters

    assert counters["stored"] == 3
    assert len(list(data.landing.rglob("*.parquet"))) == 3


def test_an_empty_run_writes_nothing(data: DataDir) -> None:
    assert BoundedGraph(Ingest(data.root, BOUNDS)).run([]).counters == {}
    assert not data.root.exists()


def test_a_lake_error_keeps_its_type_through_the_runner(data: DataDir) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")

    with pytest.raises(LakeError, match="landing"):
        BoundedGraph(Ingest(data.root, BOUNDS)).run([MIXED])


def test_the_same_batch_twice_leaves_the_same_files(data: DataDir) -> None:
    graph = BoundedGraph(Ingest(data.root, BOUNDS))
    graph.run([MIXED])
    before = files_below(data.root)
    graph.run([MIXED])

    assert files_below(data.root) == before


class _Unpicklable(bytes):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise AssertionError("a payload was pickled on its way through the graph")


def test_no_step_of_a_local_run_pickles_its_batch(data: DataDir) -> None:
    payload = _Unpicklable(as_json(reading(1), reading(2, seq=-1)))
    metrics = BoundedGraph(Ingest(data.root, BOUNDS)).run([batch(message(payload))])

    assert (metrics.counters["stored"], len(dead_letters(data))) == (1, 1)
