"""Stored rows carry their message's attributes, and every file of a batch is written once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_helpers import (
    NOW,
    as_json,
    batch,
    dead_letters,
    files_below,
    judge,
    message,
    reading,
    stored_rows,
)

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, floor_hour, hour_of_folder
from ami_contract.reading import ROW_SCHEMA
from beam_jobs.elements import ENRICHED_SCHEMA, Enriched, Message
from beam_jobs.enrich import enrich, latencies_ms
from beam_jobs.sinks import (
    PAYLOAD_PREFIX_BYTES,
    as_text,
    write_archive,
    write_deadletter,
    write_landing,
)

GATEWAY = {
    "gateway_id": "g1",
    "network_profile": "lte_m",
    "gateway_ingest_ts": "2026-03-01T12:31:00.5+01:00",
    "batch_id": "b7",
}


def enriched(*messages: Message) -> Enriched:
    return enrich(judge(*messages))


def test_rows_are_the_contract_s_with_the_attributes_of_their_own_message() -> None:
    found = enriched(
        message(as_json(reading(1), reading(2, quality_flags=["tamper"])), **GATEWAY),
        message(as_json(reading(3)), identity="m-3"),
    )
    rows = found.rows.to_pylist()

    assert found.rows.schema.equals(ENRICHED_SCHEMA)
    assert [r["seq"] for r in rows] == [1, 2, 3]
    names = ("gateway_id", "network_profile", "gateway_ingest_ts", "batch_id")
    ingested = datetime(2026, 3, 1, 11, 31, 0, 500_000, tzinfo=UTC)
    assert [tuple(r[n] for n in names) for r in rows] == [
        ("g1", "lte_m", ingested, "b7"),
        ("g1", "lte_m", ingested, "b7"),
        (None, None, None, "m-3"),
    ]
    assert [r["quality_flags"] for r in rows] == [[], ["tamper"], []]
    assert {r["ingest_ts"] for r in rows} == {NOW}
    assert {r["event_date"] for r in rows} == {date(2026, 3, 1)}


def test_latencies_count_from_the_oldest_reading_and_from_the_gateway() -> None:
    validated = judge(
        message(as_json(reading(1), reading(61)), gateway_ingest_ts="2026-03-01T11:59:58.750Z"),
        message(as_json(reading(seq=-1))),
        message(as_json(reading(2))),
    )
    stored = enrich(validated)

    assert latencies_ms(validated.readings, stored.rows) == {
        "latency_event_ms": [29 * 60_000 + 59_000, 29 * 60_000 + 58_000],
        "latency_gateway_ms": [1250],
    }


def test_a_message_from_the_archive_keeps_its_first_ingest_ts() -> None:
    earlier = NOW - timedelta(minutes=20)
    replayed = message(as_json(reading(1)))._replace(ingest_ts=earlier)
    found = enriched(replayed, message(as_json(reading(2))))

    assert found.rows["ingest_ts"].to_pylist() == [earlier, NOW]


@pytest.mark.parametrize("text", ["soon", "", "2026-03-01T12:00:00", "12:00Z"])
def test_an_unreadable_gateway_time_is_null_and_loses_no_reading(text: str) -> None:
    found = enriched(message(as_json(reading()), gateway_ingest_ts=text))

    assert found.rows["gateway_ingest_ts"].to_pylist() == [None]


def test_an_empty_batch_id_falls_back_to_the_message_id() -> None:
    found = enriched(message(as_json(reading()), identity="m-9", batch_id=""))

    assert found.rows["batch_id"].to_pylist() == ["m-9"]


@pytest.mark.parametrize(
    ("event_ts", "day"),
    [
        ("2026-02-28T23:59:59.999Z", date(2026, 2, 28)),
        ("2026-03-01T00:30:00+01:00", date(2026, 2, 28)),
        ("2026-02-28T23:30:00-02:00", date(2026, 3, 1)),
    ],
)
def test_the_event_date_is_the_utc_day(event_ts: str, day: date) -> None:
    found = enriched(message(as_json(reading(event_ts=event_ts))))

    assert found.rows["event_date"].to_pylist() == [day]


def test_a_batch_without_valid_readings_has_no_rows_and_keeps_its_refusals() -> None:
    found = enriched(message(b"{"), message(as_json(reading(seq=-1))))

    assert found.rows.num_rows == 0
    assert found.rows.schema.equals(ENRICHED_SCHEMA)
    assert [r.message for r in found.refusals] == [0, 1]


def landed(rows: list[dict[str, Any]], data: DataDir, segment: str = "seg") -> Any:
    table = enriched(message(as_json(*rows))).rows
    return write_landing(data, segment, table)


def test_rows_land_by_the_hour_of_their_event_whatever_their_order(data: DataDir) -> None:
    times = [
        "2026-03-01T10:59:59.999Z",
        "2026-03-01T11:00:00Z",
        "2026-02-28T23:59:59Z",
        "2026-03-01T11:59:59Z",
        "2026-03-01T10:00:00Z",
        "2026-03-01T12:30:00+01:00",
    ]
    rows = [reading(seq, event_ts=text) for seq, text in enumerate(times)]
    paths = landed(rows, data)

    found = {
        f"{p.parent.parent.name}/{p.parent.name}/{p.name}": pq.read_table(p)["seq"].to_pylist()
        for p in paths
    }
    assert {name: sorted(seqs) for name, seqs in found.items()} == {
        "dt=2026-02-28/hr=23/seg.r1.parquet": [2],
        "dt=2026-03-01/hr=10/seg.r2.parquet": [0, 4],
        "dt=2026-03-01/hr=11/seg.r3.parquet": [1, 3, 5],
    }
    for path in paths:
        for event_ts in pq.read_table(path)["event_ts"].to_pylist():
            assert floor_hour(event_ts) == hour_of_folder(path.parent)


def test_landed_files_have_statistics_of_what_readers_filter_by(data: DataDir) -> None:
    (path,) = landed([reading(1), reading(2)], data)
    metadata = pq.read_metadata(path)
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]

    assert {c.path_in_schema for c in columns if c.statistics and c.statistics.has_min_max} == {
        "event_ts",
        "meter_id",
        "pole_id",
    }


def test_no_rows_land_in_no_file(data: DataDir) -> None:
    assert write_landing(data, "seg", ROW_SCHEMA.empty_table()) == []
    assert not data.landing.exists()


def test_rows_in_several_chunks_land_whole(data: DataDir) -> None:
    table = enriched(message(as_json(reading(1), reading(2)))).rows
    elsewhere = enriched(message(as_json(reading(3, event_ts="2026-03-01T09:00:00Z")))).rows
    write_landing(data, "seg", pa.concat_tables([table, elsewhere, table]))

    assert sorted(r["seq"] for r in stored_rows(data)) == [1, 1, 2, 2, 3]


def test_writing_a_batch_again_changes_no_file(data: DataDir) -> None:
    found = enriched(
        message(as_json(reading(1), reading(2, seq=-1)), identity="a"),
        message(b"\xff" * 5000, identity="b"),
    )

    def write() -> None:
        write_archive(data, found)
        write_landing(data, "seg", found.rows)
        write_deadletter(data, found.batch, found.refusals)

    write()
    before = files_below(data.root)
    write()

    assert files_below(data.root) == before
    assert len(before) == 4  # archive, landing, dead letter, one long payload


def test_a_batch_refused_whole_leaves_no_archive(data: DataDir) -> None:
    assert write_archive(data, enriched(message(b"{"))) == []
    assert not data.archive.exists()


def test_nothing_refused_leaves_no_dead_letter(data: DataDir) -> None:
    assert write_deadletter(data, batch(message(as_json(reading()))), []) is None
    assert not data.deadletter.exists()


@pytest.mark.parametrize("size", [PAYLOAD_PREFIX_BYTES, PAYLOAD_PREFIX_BYTES + 1])
def test_a_long_payload_is_kept_whole_beside_its_dead_letter(data: DataDir, size: int) -> None:
    payload = b"[" + b"x" * (size - 1)
    found = enriched(message(payload))
    write_deadletter(data, found.batch, found.refusals)
    (letter,) = dead_letters(data)

    assert letter["payload"].encode() == payload[:PAYLOAD_PREFIX_BYTES]
    assert letter["payload_bytes"] == size
    if size > PAYLOAD_PREFIX_BYTES:
        assert (data.deadletter_payloads / letter["payload_sha256"]).read_bytes() == payload
    else:
        assert letter["payload_sha256"] is None
        assert not data.deadletter_payloads.exists()


def test_the_long_payload_is_there_before_the_line_that_names_it(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_jobs import sinks

    found = enriched(message(b"\xff" * 5000))
    written: list[bool] = []
    original = sinks.write_bytes

    def watched(target: Any, content: bytes) -> None:
        written.append(target.parent == data.deadletter_payloads)
        original(target, content)

    monkeypatch.setattr(sinks, "write_bytes", watched)
    write_deadletter(data, found.batch, found.refusals)

    assert written == [True, False]


def test_the_source_row_of_an_imported_file_counts_its_data_rows_from_one(data: DataDir) -> None:
    bad = as_json(reading(1), reading(2, seq=-1), reading(3, seq=-1))
    found = enriched(message(bad, first_row="1001", source_file="a.csv"))
    write_deadletter(data, found.batch, found.refusals)

    assert [(r["source_file"], r["source_row"]) for r in dead_letters(data)] == [
        ("a.csv", 1002),
        ("a.csv", 1003),
    ]


def test_bytes_are_text_where_they_can_be() -> None:
    assert as_text("é".encode()) == {"payload": "é"}
    assert as_text(b"\xe9") == {"payload_base64": "6Q=="}


def test_a_folder_that_cannot_be_written_is_a_lake_error(data: DataDir) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")

    with pytest.raises(LakeError, match="landing"):
        landed([reading()], data)
