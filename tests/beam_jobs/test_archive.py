"""The archive keeps the original text of every reading that was not refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from ingest_helpers import (
    ARROW,
    NDJSON,
    NOW,
    arrow_table,
    as_arrow,
    as_json,
    batch,
    judge,
    message,
    reading,
)

from ami_contract.lake import DataDir
from beam_jobs.archive import READINGS_KEY, archived, split_readings
from beam_jobs.elements import Message
from beam_jobs.enrich import enrich
from beam_jobs.sinks import write_archive

ODD = (
    b'{ "event_ts":"2026-03-01T11:30:01Z", "meter_id":"m1","pole_id":"p1","seq":1,'
    b'"voltage_v":240.50,"current_a":4.5e0,"power_kw":-0.0,"note":"na\xc3\xafve \\u00e9, [1]"}'
)


def lines(*messages: Message) -> list[bytes]:
    validated = judge(*messages)
    return archived(validated.batch, validated.refusals).lines


def readings(line: bytes) -> list[bytes]:
    head, text = line.split(READINGS_KEY, 1)
    assert orjson.loads(head + b"}").keys() == {
        "message_id",
        "publish_time",
        "ingest_ts",
        "attributes",
    }
    return split_readings(b"[" + text.removesuffix(b"}\n"))


def test_the_text_of_a_reading_is_kept_to_the_letter() -> None:
    (line,) = lines(message(b" [ " + ODD + b" ,\t" + ODD + b" ] \n"))

    assert readings(line) == [ODD, ODD]


def test_a_line_carries_the_message_s_attributes_and_times() -> None:
    (line,) = lines(message(ODD, identity="a", gateway_id="g1", trap=',"readings":['))
    found = orjson.loads(line)

    assert found["message_id"] == "a"
    assert found["attributes"]["gateway_id"] == "g1"
    assert datetime.fromisoformat(found["ingest_ts"]) == NOW
    assert datetime.fromisoformat(found["publish_time"]) == NOW - timedelta(seconds=1)
    assert readings(line) == [ODD]


def test_refused_readings_are_left_out_and_their_neighbours_kept() -> None:
    bad = as_json(reading(seq=-1))
    (line,) = lines(message(b"[" + b",".join([ODD, bad, ODD]) + b"]"), message(bad), message(b"{"))

    assert readings(line) == [ODD, ODD]


def test_ndjson_lines_become_the_elements_of_one_line() -> None:
    (line,) = lines(message(ODD + b"\r\n\n" + ODD + b"\n", NDJSON))

    assert readings(line) == [ODD, ODD]


def test_a_payload_over_several_lines_stays_one_line() -> None:
    (line,) = lines(message(orjson.dumps([reading(1)], option=orjson.OPT_INDENT_2)))

    assert line.count(b"\n") == 1
    assert [orjson.loads(text) for text in readings(line)] == [reading(1)]


def test_an_arrow_payload_is_kept_as_it_came_and_without_its_refused_rows() -> None:
    whole = as_arrow(arrow_table(reading(1), reading(2)))
    table = arrow_table(reading(3), reading(4, seq=-1), reading(5))
    mended = as_arrow(table.append_column("extra", pa.array([1, 2, 3])))
    none_left = as_arrow(arrow_table(reading(seq=-1)))
    validated = judge(
        message(whole, ARROW, identity="a", gateway_id="g1"),
        message(mended, ARROW, identity="b"),
        message(none_left, ARROW, identity="c"),
    )
    rows = archived(validated.batch, validated.refusals).rows.to_pylist()

    assert [row["message_id"] for row in rows] == ["a", "b"]
    assert rows[0]["payload"] == whole
    assert dict(rows[0]["attributes"])["gateway_id"] == "g1"
    assert rows[0]["ingest_ts"] == NOW
    kept = pa.ipc.open_stream(rows[1]["payload"]).read_all()
    assert kept.select(["seq", "extra"]).to_pydict() == {"seq": [3, 5], "extra": [1, 3]}


def test_text_and_arrow_of_a_batch_become_a_segment_each(data: DataDir) -> None:
    arrow = as_arrow(arrow_table(reading(2)))
    found = enrich(judge(message(ODD), message(arrow, ARROW)))
    folder = data.archive / "segments" / "dt=2026-03-01" / "hr=12"

    assert write_archive(data, found) == [folder / "seg.jsonl", folder / "seg.arrow"]
    assert pa.ipc.open_file(folder / "seg.arrow").read_all()["payload"].to_pylist() == [arrow]
    assert readings((folder / "seg.jsonl").read_bytes()) == [ODD]


@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.text(max_size=20)), min_size=1, max_size=5),
        max_size=5,
    ),
    st.sampled_from(["array", "ndjson"]),
)
def test_archive_and_refusals_together_hold_every_reading_once(
    payloads: list[list[tuple[bool, str]]], form: str
) -> None:
    sent: list[bytes] = []
    messages = []
    for number, marks in enumerate(payloads):
        texts = [
            orjson.dumps(reading(i, seq=i if good else -1, note=note, batch=number))
            for i, (good, note) in enumerate(marks)
        ]
        sent += texts
        whole = b"[" + b", ".join(texts) + b"]" if form == "array" else b"\n".join(texts)
        kind = "application/json" if form == "array" else NDJSON
        messages.append(message(whole, kind, identity=str(number)))
    validated = judge(*messages)
    kept = archived(batch(*messages), validated.refusals).lines
    found = [text for line in kept for text in readings(line)]

    assert sorted(found + [r.payload for r in validated.refusals]) == sorted(sent)
    assert all(orjson.loads(text)["seq"] >= 0 for text in found)


def test_the_readings_of_a_line_are_not_copied_from_their_payload() -> None:
    payload = as_json(reading(1), reading(2))
    validated = judge(message(payload))
    ((_, kept, _),) = archived(validated.batch, validated.refusals).pieces

    assert isinstance(kept, memoryview)
    assert kept.obj is payload
