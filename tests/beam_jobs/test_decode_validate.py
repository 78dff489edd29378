"""The fast columnar path and the exact judge see the same readings and the same faults."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ingest_helpers import (
    ARROW,
    EVENT_TS,
    FIELD_NAMES,
    JSON,
    NDJSON,
    NOW,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    judge,
    message,
    reading,
)

from ami_contract.errors import ReadingRejected
from ami_contract.lake import DataDir
from ami_contract.reading import FLAGS, OLDEST_EVENT_TS, READING_FIELDS, Field
from beam_jobs import decode_parts as parts_module
from beam_jobs import decode_text as decode_module
from beam_jobs import validate as validate_module
from beam_jobs.checks import check_reading, split_json, split_ndjson
from beam_jobs.elements import Message, Validated
from beam_jobs.enrich import enrich
from beam_jobs.sinks import write_archive

FULL = reading(reactive_kvar=0.25, freq_hz=60.02, quality_flags=["estimated", "tamper"])


def values(validated: Validated) -> list[dict[str, Any]]:
    return [{k: r[k] for k in FIELD_NAMES} for r in validated.readings.to_pylist()]


def checked(**changes: Any) -> dict[str, Any]:
    return check_reading(reading(**changes), now=NOW)


def test_all_content_types_give_the_same_rows() -> None:
    readings = [FULL, reading(2), reading(3, freq_hz=None, quality_flags=None)]
    expected = [check_reading(r, now=NOW) for r in readings]
    for payload in (
        message(as_json(*readings)),
        message(as_json(*readings), None),
        message(json.dumps(readings, indent=2).encode()),
        message(as_ndjson(*readings), NDJSON),
        message(as_ndjson(*readings) + b"\n", NDJSON),
        message(as_ndjson(*readings).replace(b"\n", b"\r\n"), NDJSON),
    ):
        found = judge(payload)
        rows = [row | {"quality_flags": row["quality_flags"] or []} for row in values(found)]
        assert (rows, found.refusals) == (expected, [])
    flagged = arrow_table(FULL, reading(2, quality_flags=[]))
    assert values(judge(message(as_arrow(flagged), ARROW))) == [
        check_reading(r, now=NOW) for r in (FULL, reading(2))
    ]


def test_good_json_never_takes_the_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a good payload was read reading by reading")

    monkeypatch.setattr(decode_module, "_judge", refuse)
    newer = FULL | {"phase": "L1", "nested": {"a": [1, None]}}
    found = judge(
        message(as_json(FULL, reading(2, freq_hz=None))),
        message(as_json(reading(3))),
        message(as_ndjson(reading(4), reading(5)).replace(b"\n", b"\r\n"), NDJSON),
        message(as_json(newer, newer)),
    )

    assert (found.readings.num_rows, found.unknown_fields) == (7, 4)


def test_counters_and_nulls_that_are_no_readings_leave_their_payload_on_the_fast_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a payload was read reading by reading for one bad value")

    monkeypatch.setattr(decode_module, "_judge", refuse)
    counters = ["1.5", "7.0", "1e3", "-1", "9007199254740991", "9007199254740992", "-0", "1e30"]
    texts = [json.dumps(reading()).replace('"seq": 1', f'"seq": {text}') for text in counters]
    found = judge(
        message(f"[{','.join([*texts, 'null'])}]".encode()),
        message("\n".join([*texts, "null"]).encode(), NDJSON, identity="2"),
    )

    refused = [
        (0, "not_an_integer"),
        (3, "out_of_range"),
        (5, "out_of_range"),
        (7, "out_of_range"),
        (8, "not_a_reading"),
    ]
    assert found.readings["seq"].to_pylist() == [7, 1000, 2**53 - 1, 0] * 2
    assert found.readings["row"].to_pylist() == [1, 2, 4, 6] * 2
    assert [(r.message, r.row, r.code) for r in found.refusals] == [
        (index, row, code) for index in (0, 1) for row, code in refused
    ]


def test_a_payload_with_bad_readings_is_split_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    split: list[bytes] = []
    original = parts_module.reading_texts

    def watched(content_type: Any, payload: bytes) -> Any:
        split.append(payload)
        return original(content_type, payload)

    monkeypatch.setattr(parts_module, "reading_texts", watched)
    payloads = [
        as_json(reading(1), reading(2, seq="x"), reading(3, voltage_v=-1), reading(4)),
        as_json(reading(5), reading(6, voltage_v=-1)),
    ]
    validated = judge(*(message(data) for data in payloads))
    write_archive(DataDir(tmp_path), enrich(validated))

    assert sorted(split) == sorted(payloads)
    assert [(r.message, r.row) for r in validated.refusals] == [(0, 1), (0, 2), (1, 1)]
    (segment,) = tmp_path.rglob("*.jsonl")
    archived = [orjson.loads(line)["readings"] for line in segment.read_bytes().splitlines()]
    assert [[each["seq"] for each in line] for line in archived] == [[1, 4], [5]]


def test_one_bad_payload_among_many_leaves_the_others_on_the_fast_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slowly: list[tuple[int, list[int]]] = []
    original = decode_module._judge

    def watched(payload: Any, rows: list[int], batch: Any) -> Any:
        slowly.append((payload.message, rows))
        return original(payload, rows, batch)

    monkeypatch.setattr(decode_module, "_judge", watched)
    payloads = [message(as_json(reading(i)), identity=str(i)) for i in range(33)]
    worse = [reading(50 + i, seq="x" if i in (1, 5) else 50 + i) for i in range(8)]
    payloads[17] = message(as_json(reading(17), reading(18, seq="18")), identity="17")
    payloads[20] = message(as_ndjson(*worse), NDJSON, identity="20")
    found = judge(*payloads)

    assert sorted(slowly) == [(17, [1]), (20, [1, 5])]
    assert found.readings.num_rows == 32 + 6
    assert [(r.message, r.row, r.field) for r in found.refusals] == [
        (17, 1, "seq"),
        (20, 1, "seq"),
        (20, 5, "seq"),
    ]
    places = zip(*found.readings.select(["message", "row"]).to_pydict().values(), strict=True)
    assert sorted(row for message, row in places if message == 20) == [0, 2, 3, 4, 6, 7]


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"seq": 0}, {"seq": 0}),
        ({"seq": 7.0}, {"seq": 7}),
        ({"seq": 2**53 - 1}, {"seq": 2**53 - 1}),
        ({"voltage_v": 0}, {"voltage_v": 0.0}),
        ({"voltage_v": 1000}, {"voltage_v": 1000.0}),
        ({"power_kw": -10_000.0}, {"power_kw": -10_000.0}),
        ({"freq_hz": 40}, {"freq_hz": 40.0}),
        ({"event_ts": "2000-01-01T00:00:00Z"}, {"event_ts": OLDEST_EVENT_TS}),
        ({"event_ts": "2026-03-01T12:05:00Z"}, {"event_ts": NOW + timedelta(minutes=5)}),
        (
            {"event_ts": "2026-03-01t13:30:00.5+02:00"},
            {"event_ts": EVENT_TS.replace(microsecond=500_000)},
        ),
        ({"meter_id": "A.b_c:9-" + "x" * 120}, {"meter_id": "A.b_c:9-" + "x" * 120}),
        (
            {"quality_flags": ["from a newer firmware"]},
            {"quality_flags": ["from a newer firmware"]},
        ),
    ],
)
def test_values_on_the_edge_of_the_range_are_stored(
    changes: dict[str, Any], row: dict[str, Any]
) -> None:
    found = judge(message(as_json(reading(**changes))), message(as_json(reading(5), reading(6))))

    assert found.refusals == []
    first = next(r for r in found.readings.to_pylist() if r["message"] == 0)
    assert first.items() >= row.items()


NUMBERS = [f for f in READING_FIELDS if pa.types.is_floating(f.type)]


@pytest.mark.parametrize("bound", ["minimum", "maximum"])
@pytest.mark.parametrize("field", NUMBERS, ids=[f.name for f in NUMBERS])
def test_a_value_is_stored_on_its_bound_and_refused_just_beyond_it(
    field: Field, bound: str
) -> None:
    limit = float(getattr(field, bound))
    beyond = math.nextafter(limit, math.inf if bound == "maximum" else -math.inf)
    found = judge(
        message(as_json(reading(1, **{field.name: limit}), reading(2, **{field.name: beyond})))
    )

    assert found.readings[field.name].to_pylist() == [limit]
    assert [(r.row, r.code, r.field) for r in found.refusals] == [(1, "out_of_range", field.name)]


@pytest.mark.parametrize("content_type", [JSON, ARROW])
def test_a_reading_that_only_the_columns_doubt_is_stored_after_all(
    monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    doubtful = pa.chunked_array([pa.array([False, True, False])])
    monkeypatch.setattr(validate_module, "valid_rows", lambda readings, now: doubtful)
    readings = [reading(1), reading(2), reading(3)]
    data = as_json(*readings) if content_type == JSON else as_arrow(arrow_table(*readings))
    found = judge(message(data, content_type))

    assert sorted(found.readings["seq"].to_pylist()) == [1, 2, 3]
    assert sorted(found.readings["row"].to_pylist()) == [0, 1, 2]
    assert found.refusals == []


def test_unknown_fields_are_counted_and_left_out() -> None:
    newer = reading(phase="L1", firmware={"version": [2, 1]})
    for payload, content_type in (
        (as_json(newer, reading(2), reading(3, phase=None)), JSON),
        (as_ndjson(newer, reading(2), reading(3, phase=None)), NDJSON),
        (as_json(newer, reading(2), reading(3, phase=None, seq=3.0)), JSON),
    ):
        found = judge(message(payload, content_type))
        assert found.readings.num_rows == 3
        assert set(found.readings.column_names) == {*FIELD_NAMES, "message", "row"}
        assert found.unknown_fields == 3


def test_unknown_arrow_columns_are_counted_and_left_out() -> None:
    table = arrow_table(reading(1), reading(2)).append_column("phase", pa.array(["L1", None]))
    found = judge(message(as_arrow(table), ARROW))

    assert (found.readings.num_rows, found.unknown_fields) == (2, 1)


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("meter_id", pa.array(["m1", "m1"]).dictionary_encode()),
        ("meter_id", pa.array(["m1", "m1"], pa.large_string())),
        ("seq", pa.array([1, 2], pa.uint16())),
        ("voltage_v", pa.array([240.5, 240.5], pa.float32())),
        ("voltage_v", pa.array([240, 240], pa.int32())),
        ("quality_flags", pa.array([None, None], pa.null())),
        ("quality_flags", pa.array([[], []], pa.list_(pa.null()))),
        ("quality_flags", pa.array([[], ["tamper"]], pa.large_list(pa.large_string()))),
        ("event_ts", pa.array([EVENT_TS, EVENT_TS], pa.timestamp("ms", "Europe/Paris"))),
        ("event_ts", pa.array([EVENT_TS, EVENT_TS], pa.timestamp("s", "UTC"))),
        ("event_ts", pa.array(["2026-03-01T11:30:00Z"] * 2)),
    ],
)
def test_arrow_types_that_hold_the_same_values_are_taken(name: str, replacement: pa.Array) -> None:
    table = arrow_table(reading(1), reading(2))
    table = table.set_column(table.schema.get_field_index(name), name, replacement)
    found = judge(message(as_arrow(table), ARROW))

    assert found.refusals == []
    assert found.readings.num_rows == 2
    if name == "event_ts":
        assert found.readings["event_ts"].to_pylist() == [EVENT_TS, EVENT_TS]


def test_empty_batches_hold_no_reading_and_are_no_fault() -> None:
    found = judge(message(b"[]"), message(as_arrow(arrow_table().slice(0, 0)), ARROW))

    assert (found.readings.num_rows, found.refusals) == (0, [])


def token(value: Any) -> str:
    return json.dumps(value)


ODD_TOKENS = [
    # Numbers: signs, exponents, fractions that vanish, the edges of int64 and of float's integers.
    *("-0.0", "0e999", "-0e999", "7.0", "1E2", "1e+2", "100e-2", "1.5e1", "1e400", "-1E400"),
    *("2e-324", "999.99999999999999999", "1000.00000000000000001", "1.0000000000000000000001"),
    *("-9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" * 401),
    *("9007199254740991", "9007199254740992", "9007199254740991.0", "9007199254740991.4"),
    *("9.007199254740991e15", "00", "-01", "5.", "1.e5", "1e", "1e+", "--1", "-", "0x10", "1_0"),
    # What other languages read.
    *("nan", "True", "None", "undefined", "'m1'", "/*c*/1", "1//c", "tru", "[,]", '["a",]', "[1,]"),
    # Texts: escapes, control characters, blanks of Unicode, halves of surrogate pairs.
    *(
        '"m\\u0031"',
        '"\\/"',
        '"\\x41"',
        '"\\u12"',
        '"\\"',
        '"m\n1"',
        '"m\t1"',
        '"m\x7f1"',
        '"\x00"',
    ),
    *('"\\u0000"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"😀"', '"\u2028"', '"\ufeff"', '"seq"'),
    *(
        '["\\ud800"]',
        '["\\u0000"]',
        '["\\u0061", "é\\n"]',
        '["a", "a"]',
        '[""]',
        "[[]]",
        '["a" "b"]',
    ),
    *("[ ]", "[null, null]", '{"seq": 1}', '{"seq"}', '{"seq": 1,}', "[" * 50 + "]" * 50),
    # Times: case, leap seconds, digits, offsets, calendars, text around them.
    *(
        f'"{text}"'
        for text in (
            *("2026-03-01t11:30:00Z", "2026-03-01 11:30:00z", "2026-03-01T11:30:60Z"),
            *("2026-02-28T23:59:60Z", "2026-03-01T24:00:00Z", "2026-03-01T11:30:00.Z"),
            *("2026-03-01T11:30:00.999999999Z", "2026-03-01T11:30:00.1234567890Z"),
            *("2026-03-01T11:30:00,5Z", "2026-03-01T11:30:00-00:00", "2026-03-01T11:30:00+23:59"),
            *("2026-03-01T11:30:00+24:00", "2026-03-01T11:30:00+00:60", "2026-03-01T11:30:00+0100"),
            *("2026-03-01T11:30:00+01", "2026-03-01T11:30Z", "20260301T113000Z", "2026-W09-7"),
            *(" 2026-03-01T11:30:00Z", "2026-03-01T11:30:00Z ", "2026-03-01T11:30:00Z\\n"),
            *("2026\\u002d03-01T11:30:00Z", "٢٠٢٦-03-01T11:30:00Z", "2026-03-01T11:30:00ß"),
            *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
            *("2262-04-11T23:47:16.854775808Z", "1677-09-21T00:12:43.145224192Z"),
            *("2000-01-01T00:00:00+00:01", "1999-12-31T23:59:59.999999999Z"),
            "2026-03-01T12:05:00.000000999Z",
        )
    ),
]
TOKENS = st.one_of(
    st.sampled_from(
        [
            *("null", "true", "false", "0", "-0", "-1", "1.0", "1.5", "1e3", "1e999", "-1e999"),
            *("1e-400", "NaN", "Infinity", "-Infinity", "9223372036854775807", "01", ".5", "+1"),
            *("9223372036854775808", "1" * 40, "1" * 5000, '""', '"1"', '"m 1"', '"m1\\n"'),
            *('"\\ud800"', '"\\u006d1"', '"é"', "[]", "[null]", '["tamper"]', '["a", 1]', "{}"),
            *('{"a": 1, "a": 2}', '"2026-03-01T11:30:00"', '"2026-03-01T11:30:00z"', "1000.0"),
            *('"2026-03-01 11:30:00.123456789+05:30"', '"2099-01-01T00:00:00Z"', "1000.0001"),
            *('"1999-12-31T23:59:59.999999Z"', '"9999-12-31T23:59:59Z"', '"2026-02-30T00:00:00Z"'),
            *('"2026-03-01T12:05:00Z"', '"2026-03-01T12:05:00.000001Z"', "40", "39.999", "70.1"),
            *ODD_TOKENS,
        ]
    ),
    st.floats().map(token),
    st.integers(-(2**70), 2**70).map(token),
    st.text(max_size=6).map(token),
    st.datetimes().map(lambda d: token(d.isoformat() + "Z")),
)
ODD_CHARACTERS = ["", *'\\"{}[],:\t\n\r\x00\x0b\x0c\x1f\x7f\xa0\u2028\ufeff0-e/']
NAMES = st.sampled_from([*FIELD_NAMES, "phase", "meter_ID", "seq ", "r"])


def as_escapes(name: str) -> str:
    """The name with its first character as a JSON escape."""
    return f"\\u{ord(name[0]):04x}{name[1:]}"


@st.composite
def near_valid(draw: st.DrawFn) -> str:
    """The JSON text of a reading with up to three of its fields changed, dropped or repeated."""
    pairs = [(name, token(value)) for name, value in FULL.items()]
    for _ in range(draw(st.integers(0, 3))):
        name, action = draw(NAMES), draw(st.sampled_from(["change", "drop", "repeat"]))
        if action != "repeat":
            pairs = [pair for pair in pairs if pair[0] != name]
        if action != "drop":
            pairs.insert(draw(st.integers(0, len(pairs))), (name, draw(TOKENS)))
    colon = draw(st.sampled_from([": ", ":", " :", " : ", "\t:\t"]))
    escaped = draw(st.sampled_from([None, None, None, *FIELD_NAMES]))
    texts = [
        f'"{as_escapes(name) if name == escaped else name}"{colon}{value}' for name, value in pairs
    ]
    whole = "{" + ", ".join(texts) + draw(st.sampled_from(["}"] * 8 + [",}", "\x0b}"]))
    if draw(st.integers(0, 9)):
        return whole
    place = draw(st.integers(0, len(whole)))
    return whole[:place] + draw(st.sampled_from(ODD_CHARACTERS)) + whole[place + 1 :]


@st.composite
def near_valid_message(draw: st.DrawFn) -> Message:
    texts = draw(st.lists(near_valid(), min_size=1, max_size=4))
    form = draw(st.sampled_from(["array", "object", "lines"]))
    if form == "lines":
        return message(draw(st.sampled_from(["\n", "\r\n", "\n \n"])).join(texts).encode(), NDJSON)
    text = texts[0] if form == "object" else "[" + ", ".join(texts) + "]"
    before = draw(st.sampled_from(["", "", "", " \t\r\n", "\ufeff", "\x0c"]))
    return message((before + text).encode())


Verdict = tuple[dict[tuple[int, int], dict[str, Any]], Counter[tuple[Any, ...]]]


def slow_verdict(messages: list[Message]) -> Verdict:
    """What the exact judge says, element by element."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    refusals: Counter[tuple[Any, ...]] = Counter()
    for index, item in enumerate(messages):
        split = split_ndjson if item.attributes["content_type"] == NDJSON else split_json
        try:
            parts = split(item.data)
        except ReadingRejected as error:
            refusals[index, None, error.code, error.field] += 1
            continue
        for row, part in enumerate(parts):
            try:
                if part.error:
                    raise part.error
                rows[index, row] = check_reading(part.value, now=NOW)
            except ReadingRejected as error:
                refusals[index, row, error.code, error.field] += 1
    return rows, refusals


def fast_verdict(validated: Validated) -> Verdict:
    rows = {}
    for row in validated.readings.to_pylist():
        place = (row.pop("message"), row.pop("row"))
        assert place not in rows
        rows[place] = row | {"quality_flags": row["quality_flags"] or []}
    return rows, Counter((r.message, r.row, r.code, r.field) for r in validated.refusals)


SPOILER = message(as_json(reading(801), reading(802, seq=8.5), reading(803)), identity="spoiler")


def agree(messages: list[Message]) -> None:
    """The verdict is that of the exact judge, alone, together, and where one more is doubtful."""
    together = judge(*messages)
    assert fast_verdict(together) == slow_verdict(messages)
    spoilt = [*messages, SPOILER]
    assert fast_verdict(judge(*spoilt)) == slow_verdict(spoilt)
    if len(messages) > 1:
        for item in messages:
            assert fast_verdict(judge(item)) == slow_verdict([item])
    for refusal in together.refusals:
        orjson.dumps([refusal.meter_id, refusal.pole_id, refusal.seq, refusal.detail])


@settings(max_examples=200)
@given(st.lists(near_valid_message(), min_size=1, max_size=4))
@example([message(as_json(reading(1), reading(2, seq=1.5))), message(as_json(FULL))])
def test_the_fast_path_and_the_exact_judge_agree(messages: list[Message]) -> None:
    agree(messages)


@pytest.mark.parametrize("name", [*FIELD_NAMES, "phase"])
@pytest.mark.parametrize("form", ["{%s}", "[{%s}]", f"[{token(FULL)}, {{%s}}, null]"])
def test_all_paths_agree_on_every_odd_value_of_every_field(name: str, form: str) -> None:
    others = [(key, token(value)) for key, value in FULL.items() if key != name]
    for value in ODD_TOKENS:
        pairs = ",".join(f'"{key}":{text}' for key, text in [*others, (name, value)])
        agree([message(form.replace("%s", pairs).encode())])


@pytest.mark.parametrize("name", FIELD_NAMES)
def test_a_field_that_stands_twice_is_found_however_it_is_spelt(name: str) -> None:
    pairs = [f'"{key}": {token(value)}' for key, value in FULL.items()]
    again = [f'"{name}": null', f'"{as_escapes(name)}": {token(FULL[name])}']
    for second in again:
        for text in (", ".join([*pairs, second]), ", ".join([second, *pairs])):
            odd = message(f"[{{{text}}}, {token(FULL)}]".encode())
            agree([odd])
            assert [(r.row, r.code, r.field) for r in judge(odd).refusals] == [
                (0, "duplicate_key", name)
            ]


def test_a_reading_whose_key_is_escaped_is_as_good_as_any() -> None:
    text = token(FULL).replace('"seq"', '"\\u0073eq"')
    for data in (f"{text}", f"[{text}, null]"):
        agree([message(data.encode())])
        assert judge(message(data.encode())).readings["seq"].to_pylist() == [1]


FRAGMENTS = st.sampled_from(
    [
        as_json(reading()),
        as_json(reading(2)),
        *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\n", b"\r", b" ", b"null", b"1", b"\\"),
        *(b"\xff", b"\x00", b"\x0b", b"\x1c", b"\xc2\xa0", b"\xe2\x80\xa8", b'"r":', b'"x":'),
    ]
)
ARROW_BYTES = as_arrow(arrow_table(reading(1), FULL))


def damaged(cut: int, place: int, byte: int) -> bytes:
    """The Arrow payload with one byte exchanged and its end cut off."""
    data = bytearray(ARROW_BYTES)
    data[place % len(data)] = byte
    return bytes(data[: len(data) - cut])


PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=30).map(str.encode),
    st.lists(FRAGMENTS, max_size=9).map(b"".join),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.builds(
        damaged,
        st.sampled_from([0, 0, 0, 1, 8, 200]),
        st.integers(0, len(ARROW_BYTES)),
        st.integers(0, 255),
    ),
)
CLAIMS = st.sampled_from([JSON, NDJSON, ARROW, None, "text/plain"])


def is_empty_batch(item: Message) -> bool:
    """A well-formed payload that holds no reading at all."""
    if item.attributes.get("content_type") == ARROW:
        try:
            return pa.ipc.open_stream(item.data).read_all().num_rows == 0
        except (pa.ArrowException, OSError):
            return False
    try:
        return json.loads(item.data) == []
    except ValueError:
        return False


@settings(max_examples=200)
@given(st.lists(st.builds(message, PAYLOADS, CLAIMS), min_size=1, max_size=4))
def test_any_bytes_are_accounted_for_and_never_stop_the_batch(messages: list[Message]) -> None:
    good = message(as_json(reading(1), reading(2)), identity="good")
    found = judge(*messages, good)

    places = Counter(found.readings["message"].to_pylist())
    for refusal in found.refusals:
        places[refusal.message] += 1
        assert refusal.code
        if refusal.row is None:
            assert refusal.payload == messages[refusal.message].data
    assert places[len(messages)] == 2
    for index, item in enumerate(messages):
        assert places[index] >= 1 or is_empty_batch(item)


@settings(max_examples=60)
@given(st.lists(st.builds(reading, st.integers(0, 99)) | st.just(None) | st.just(3), max_size=12))
def test_every_element_of_an_array_is_either_stored_or_refused(items: list[Any]) -> None:
    found = judge(message(json.dumps(items).encode()))

    good = [index for index, item in enumerate(items) if isinstance(item, dict)]
    assert sorted(found.readings["row"].to_pylist()) == good
    assert sorted(r.row for r in found.refusals if r.row is not None) == [
        index for index, item in enumerate(items) if not isinstance(item, dict)
    ]


def test_flags_of_a_reading_without_any_are_an_empty_list_to_the_judge() -> None:
    assert checked(quality_flags=None)["quality_flags"] == []
    assert checked()["freq_hz"] is None
    assert pa.array([checked()["quality_flags"]], FLAGS).to_pylist() == [[]]
