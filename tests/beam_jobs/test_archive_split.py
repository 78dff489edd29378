"""The archive's split: every valid reading once, in its own words, below its pole and minute."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pytest
from ingest_helpers import (
    ARROW,
    EVENT_TS,
    NDJSON,
    NOW,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    batch,
    judge,
    message,
    reading,
)

from ami_contract.errors import LakeError
from beam_jobs.archive import ARROW_SCHEMA, archived
from beam_jobs.archive_split import (
    PoleMinute,
    archive_table,
    kept_table,
    kept_text,
    parse_line,
    places_of_tables,
    places_of_texts,
    reading_texts,
    rows_of,
    split_tables,
    split_texts,
)
from beam_jobs.elements import Message

MINUTE = EVENT_TS.replace(second=0)


def lines_of(*messages: Message, minutes: int = 1) -> dict[PoleMinute, list[bytes]]:
    """Archive lines of messages of one batch, as the ingest makes them."""
    texts = [kept_text(m, NOW) for m in batch(*messages).messages]
    return split_texts(texts, judge(*messages).readings, minutes=minutes)


def texts_in(lines: list[bytes]) -> list[list[bytes]]:
    return [[bytes(text) for text in parse_line(line).readings] for line in lines]


def test_a_line_holds_one_message_s_readings_of_one_pole_and_minute_in_their_own_words() -> None:
    spelled = (
        '[ {"event_ts":"2026-03-01T11:30:59.999Z","meter_id":"m1","pole_id":"pA","seq":1,'
        '"voltage_v":240.50,"current_a":4.5e0,"power_kw":1, "note":"n\\u00e9"} ,'
        '{"event_ts":"2026-03-01T12:31:00+01:00","meter_id":"m2","pole_id":"pA","seq":2,'
        '"voltage_v":240,"current_a":4,"power_kw":1.0} ]'
    )
    first, second = spelled[2:-2].split(" ,")
    found = lines_of(message(spelled.encode(), identity="a", gateway_id="g1"))

    assert list(found) == [
        PoleMinute("pA", datetime(2026, 3, 1, 11, 30, tzinfo=UTC)),
        PoleMinute("pA", datetime(2026, 3, 1, 11, 31, tzinfo=UTC)),
    ]
    head = (
        '{"message_id":"a","publish_time":"2026-03-01T11:59:59Z",'
        '"ingest_ts":"2026-03-01T12:00:00Z",'
        '"attributes":{"content_type":"application/json","gateway_id":"g1"},"readings":['
    )
    assert [b"".join(lines).decode() for lines in found.values()] == [
        f"{head}{first}]}}\n",
        f"{head}{second}]}}\n",
    ]


def test_the_folder_names_pole_day_hour_and_minute() -> None:
    place = PoleMinute("p:1", datetime(2026, 3, 1, 7, 5, tzinfo=UTC))

    assert place.folder == "pole_id=p:1/dt=2026-03-01/hr=07/min=05"


def test_five_minutes_share_a_file_named_by_their_first() -> None:
    times = ["11:34:59Z", "11:35:00Z", "11:39:59Z", "11:40:00Z"]
    readings = [reading(i, event_ts=f"2026-03-01T{text}") for i, text in enumerate(times)]
    found = lines_of(message(as_json(*readings)), minutes=5)

    assert {place.minute.minute: len(texts_in(lines)[0]) for place, lines in found.items()} == {
        30: 1,
        35: 2,
        40: 1,
    }


def test_another_stretch_than_one_or_five_minutes_is_an_error() -> None:
    with pytest.raises(ValueError, match="minutes=7"):
        lines_of(message(as_json(reading())), minutes=7)


def test_refused_readings_are_left_out_and_their_neighbours_kept() -> None:
    found = lines_of(
        message(as_json(reading(1), reading(2, seq=-1), reading(3)), identity="a"),
        message(b"{", identity="b"),
        message(as_ndjson(reading(4), {"x": 1}, reading(5)), NDJSON, identity="c"),
    )
    (lines,) = found.values()

    assert [orjson.loads(line)["message_id"] for line in lines] == ["a", "c"]
    assert [[orjson.loads(t)["seq"] for t in texts] for texts in texts_in(lines)] == [
        [1, 3],
        [4, 5],
    ]


def test_a_batch_without_valid_readings_has_no_lines() -> None:
    assert lines_of(message(as_json(reading(seq=-1)))) == {}


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b'[{"a":1}, {"b":[1,{"c":"],}{"}]}]', None),
        (b'[\n  {"a":1},\n  {"b":[1,{"c":"],}{"}]}\n]\n', None),
        (b'[{"a":1} , {"b":[1,{"c":"],}{"}]} ]', None),
        (b'{"a":1}\r\n\n {"b":[1,{"c":"],}{"}]}', NDJSON),
    ],
)
def test_texts_are_cut_out_of_any_spelling(payload: bytes, content_type: str | None) -> None:
    texts = reading_texts(message(payload, content_type))

    assert [bytes(text) for text in texts] == [b'{"a":1}', b'{"b":[1,{"c":"],}{"}]}']


@pytest.mark.parametrize(
    "strange",
    ['{"x": NaN, "y": "a,\\"]"}', '{"x": "\\ud800"}', '{"x": ' + "[" * 1010 + "]" * 1010 + "}"],
)
def test_texts_are_cut_out_where_a_strict_reader_gives_up(strange: str) -> None:
    texts = reading_texts(message(f'[{strange}, {{"b": 2}}]'.encode()))

    assert [bytes(text) for text in texts] == [strange.encode(), b'{"b": 2}']


def test_line_breaks_within_a_reading_become_blanks() -> None:
    texts = reading_texts(message(b'[{"a":\r\n1},\n{"b":\n2}]'))

    assert [bytes(text) for text in texts] == [b'{"a":  1}', b'{"b": 2}']


@pytest.mark.parametrize("rows", [1, 3])
def test_a_message_of_one_pole_and_minute_keeps_the_line_of_the_local_archive(rows: int) -> None:
    arrived = message(as_json(*[reading(i) for i in range(rows)]), identity="a", note="naïve")
    (lines,) = lines_of(arrived).values()

    # Between readings a segment keeps the payload's own blanks.
    (line,) = archived(batch(arrived), []).lines
    assert lines == [line.replace(b"}, {", b"},{")]
    assert lines_again(line) == lines


def lines_again(line: bytes) -> list[bytes]:
    texts = [parse_line(line)]
    (lines,) = split_texts(texts, places_of_texts(texts), minutes=1).values()
    return lines


def test_an_unreadable_line_of_the_archive_is_named() -> None:
    with pytest.raises(LakeError, match="not a line of the archive"):
        parse_line(b'{"message_id":"s"}')


def test_a_line_read_and_split_again_is_the_same_line() -> None:
    payload = (
        as_json(reading(1, x=[]), reading(2))[:-1] + b', {"z": NaN, ' + as_json(reading(3))[1:]
    )
    found = lines_of(message(payload + b"]", note="naïve", identity="a"))
    ((place, lines),) = found.items()
    texts = [parse_line(line) for line in lines]
    places = places_of_texts(texts)

    assert split_texts(texts, places, minutes=1) == {place: lines}
    assert places.num_rows == 3


def test_lines_of_long_stretches_split_into_minutes() -> None:
    readings = [reading(i, pole_id=f"p{i % 3}") for i in range(200)]
    coarse = lines_of(message(as_json(*readings)), minutes=5)
    texts = [parse_line(line) for lines in coarse.values() for line in lines]

    assert split_texts(texts, places_of_texts(texts), minutes=1) == lines_of(
        message(as_json(*readings))
    )


def test_nothing_is_lost_or_doubled_over_many_messages() -> None:
    """Against a plain dictionary of what each reading says of itself."""
    random_ = random.Random(3)
    readings: list[dict[str, Any]] = [
        reading(
            i,
            pole_id=f"p{random_.randrange(4)}",
            event_ts=(EVENT_TS - timedelta(seconds=random_.randrange(400))).isoformat(),
        )
        for i in range(300)
    ]
    cuts = sorted(random_.sample(range(1, 300), 9))
    groups = [readings[a:b] for a, b in zip([0, *cuts], [*cuts, 300], strict=True)]
    messages = [
        message(as_json(*group) if i % 2 else as_ndjson(*group), None if i % 2 else NDJSON,
                identity=str(i))
        for i, group in enumerate(groups)
    ]  # fmt: skip
    expected: dict[tuple[str, str], list[int]] = {}
    for r in readings:
        expected.setdefault((r["pole_id"], r["event_ts"][:16]), []).append(r["seq"])

    assert {
        (place.pole_id, place.minute.isoformat()[:16]): [
            orjson.loads(t)["seq"] for texts in texts_in(lines) for t in texts
        ]
        for place, lines in lines_of(*messages).items()
    } == expected


def test_arrow_messages_keep_their_columns_and_split_alike() -> None:
    table = arrow_table(
        reading(1), reading(2, seq=-1), reading(3, pole_id="p2"), reading(61), reading(4)
    ).append_column("phase", pa.array(["L1", "L2", "L3", "L1", "L2"]))
    arrived = message(as_arrow(table), ARROW, identity="a", gateway_id="g1")
    kept = [kept_table(arrived, NOW)]
    found = split_tables(kept, judge(arrived).readings, minutes=1)

    assert {
        place: [part.readings.select(["seq", "phase"]).to_pylist() for part in parts]
        for place, parts in found.items()
    } == {
        PoleMinute("p1", MINUTE): [[{"seq": 1, "phase": "L1"}, {"seq": 4, "phase": "L2"}]],
        PoleMinute("p1", MINUTE + timedelta(minutes=1)): [[{"seq": 61, "phase": "L1"}]],
        PoleMinute("p2", MINUTE): [[{"seq": 3, "phase": "L3"}]],
    }


def test_an_arrow_file_of_the_archive_is_read_and_split_again_alike() -> None:
    arrived = message(as_arrow(arrow_table(reading(1), reading(2))), ARROW, identity="a", x="1")
    found = split_tables([kept_table(arrived, NOW)], judge(arrived).readings, minutes=1)
    ((place, parts),) = found.items()
    archived = archive_table(parts)
    again = rows_of(archived)

    assert archived.schema.equals(ARROW_SCHEMA)
    assert again == parts
    assert split_tables(again, places_of_tables(again), minutes=1) == {place: again}


def test_arrow_columns_of_any_type_are_kept() -> None:
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
    )
    table = arrow_table(reading(1), reading(2, pole_id="p2")).append_column("extra", union)
    arrived = message(as_arrow(table), ARROW)
    found = split_tables([kept_table(arrived, NOW)], judge(arrived).readings, minutes=1)

    assert [parts[0].readings["extra"].to_pylist() for parts in found.values()] == [[1], ["b"]]


def test_json_lines_are_readable_by_any_json_reader() -> None:
    (lines,) = lines_of(message(as_json(reading(1, note="\u2028"), reading(2)))).values()

    assert [r["seq"] for r in json.loads(lines[0])["readings"]] == [1, 2]
