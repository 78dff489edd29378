"""The cloud archive: every valid reading in a file of its pole and minute, however late."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from ingest_helpers import (
    ARROW,
    EVENT_TS,
    NDJSON,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    batch,
    files_below,
    judge,
    message,
    reading,
    streamed,
)

from beam_jobs.archive import ARROW_SCHEMA
from beam_jobs.archive_places import PoleMinute
from beam_jobs.archive_windows import ArchiveByMinute, due, join_arrow, pieces_of
from beam_jobs.elements import Message, Validated

MINUTE = EVENT_TS.replace(second=0)


def published(found: Message, instant: datetime) -> Message:
    return found._replace(publish_time=instant)


def seqs(line: bytes) -> list[int]:
    return [r["seq"] for r in orjson.loads(line)["readings"]]


def test_text_and_arrow_messages_of_a_batch_become_pieces_of_their_own() -> None:
    arrow = as_arrow(arrow_table(reading(3), reading(4, seq=-1), reading(5, pole_id="p2")))
    found = list(
        pieces_of(
            judge(
                message(b"{", identity="refused"),
                message(arrow, ARROW, identity="arrow"),
                message(as_json(reading(1), reading(61)), identity="json"),
                message(as_ndjson(reading(2)), NDJSON, identity="ndjson"),
            ),
            minutes=1,
        )
    )

    text = {p.place: [seqs(line) for line in p.content.splitlines()] for p in found[:2]}
    assert text == {
        PoleMinute("p1", MINUTE): [[1], [2]],
        PoleMinute("p1", MINUTE + timedelta(minutes=1)): [[61]],
    }
    tables = {p.place: pa.ipc.open_stream(p.content).read_all() for p in found[2:]}
    assert {p.form for p in found[2:]} == {"arrow"}
    assert {
        place: [
            (row["message_id"], pa.ipc.open_stream(row["payload"]).read_all()["seq"].to_pylist())
            for row in table.to_pylist()
        ]
        for place, table in tables.items()
    } == {PoleMinute("p1", MINUTE): [("arrow", [3])], PoleMinute("p2", MINUTE): [("arrow", [5])]}


def test_a_batch_without_valid_readings_leaves_nothing() -> None:
    assert list(pieces_of(judge(message(b"{"), message(as_json(reading(seq=-1)))), minutes=1)) == []


def test_a_file_falls_due_after_its_minute_or_when_late_readings_were_published() -> None:
    place = PoleMinute("p1", MINUTE)

    def due_of(*instants: datetime) -> timedelta:
        messages = [published(message(b"[]"), instant) for instant in instants]
        return due(place, batch(*messages), minutes=1) - MINUTE

    assert due_of(MINUTE + timedelta(seconds=5)) == timedelta(seconds=90)
    assert due_of(MINUTE, MINUTE + timedelta(seconds=95)) == timedelta(seconds=95)


def test_arrow_pieces_become_one_file_whatever_their_order() -> None:
    def stream_of(*readings: dict[str, Any]) -> bytes:
        arrived = message(as_arrow(arrow_table(*readings)), ARROW)
        (piece,) = pieces_of(judge(arrived), minutes=1)
        return piece.content

    one, two = stream_of(reading(1)), stream_of(reading(2), reading(3))
    table = pa.ipc.open_file(join_arrow([one, two])).read_all()

    assert table.schema.equals(ARROW_SCHEMA)
    assert table.num_rows == 2
    assert join_arrow([one, two]) == join_arrow(iter([two, one]))


def event(validated: Validated) -> TimestampedValue:
    instant = min(m.publish_time for m in validated.batch.messages)
    return TimestampedValue(validated, instant.timestamp())


def test_readings_in_time_share_a_file_and_late_ones_get_another(tmp_path: Path) -> None:
    def sent(after_s: float, identity: str, *readings: dict[str, Any]) -> TimestampedValue:
        instant = MINUTE + timedelta(seconds=after_s)
        return event(judge(published(message(as_json(*readings), identity=identity), instant)))

    start = MINUTE.timestamp()
    events = (
        TestStream()
        .with_output_types(Validated)
        .advance_watermark_to(start)
        .add_elements([sent(10, "a", reading(9))])
        .advance_watermark_to(start + 61)
        .add_elements([sent(62, "b", reading(59), reading(60))])
        .advance_watermark_to(start + 600)
        .add_elements([sent(601, "late", reading(30))])
        .advance_watermark_to(start + 90_000)
        .add_elements([sent(90_001, "a day late", reading(31))])
        .advance_watermark_to_infinity()
    )
    streamed(ArchiveByMinute(str(tmp_path / "raw"), 1), events)

    found: dict[str, list[list[list[int]]]] = {}
    for name, content in sorted(files_below(tmp_path).items()):
        lines = [seqs(line) for line in content.splitlines()]
        found.setdefault(name.rpartition("/")[0], []).append(lines)
    assert found == {
        "raw/pole_id=p1/dt=2026-03-01/hr=11/min=30": [[[9], [59]], [[30]], [[31]]],
        "raw/pole_id=p1/dt=2026-03-01/hr=11/min=31": [[[60]]],
    }


def test_arrow_payloads_become_arrow_files(tmp_path: Path) -> None:
    arrived = message(as_arrow(arrow_table(reading(1), reading(2))), ARROW, identity="a")
    events = (
        TestStream()
        .with_output_types(Validated)
        .add_elements([event(judge(arrived)), event(judge(arrived._replace(message_id="b")))])
        .advance_watermark_to_infinity()
    )
    (path,) = streamed(ArchiveByMinute(str(tmp_path), 5), events)

    assert path.endswith(".arrow")
    assert "/pole_id=p1/dt=2026-03-01/hr=11/min=30/" in path
    with pa.ipc.open_file(path) as archived:
        assert archived.read_all()["message_id"].to_pylist() == ["a", "b"]
