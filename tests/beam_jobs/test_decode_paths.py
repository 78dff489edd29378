"""Which way a payload takes through the decoder: what is parsed together, what is set apart."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.json
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_helpers import JSON, NDJSON, as_json, as_ndjson, batch, judge, message, reading

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import ContentType
from beam_jobs import decode_text as decode_module
from beam_jobs.checks import part_of
from beam_jobs.decode_arrow import as_wire
from beam_jobs.decode_parts import content_type_of, refuse_reading, without
from beam_jobs.decode_text import TextPayload, text_payload


def never(*args: object) -> None:
    """Stands for the exact judge where nothing is to reach it."""
    raise AssertionError("a payload was read reading by reading")


@pytest.mark.parametrize(
    ("content_type", "data", "texts", "is_array", "is_single"),
    [
        (JSON, b' \r\n{"a":1}\t\r\n ', [b'{"a":1}'], False, True),
        (JSON, b"\n[{},{}] \n", [b"[{},{}]"], True, False),
        (NDJSON, b"\n{} \r\n\r\n [1]\n", [b"{}", b"[1]"], False, False),
        (JSON, b'{"a":\n1}', [], False, True),
        (JSON, b'{"a":\r1}', [], False, True),
        (JSON, b"[1,\n2]", [], False, True),
        (NDJSON, b"{}\n{\r}", [], False, False),
        (JSON, '{"a":"ä"}'.encode(), ['{"a":"ä"}'.encode()], False, True),
    ],
)
def test_a_payload_is_texts_without_blanks_or_needs_care(
    content_type: str, data: bytes, texts: list[bytes], is_array: bool, is_single: bool
) -> None:
    found = text_payload(3, ContentType(content_type), data)

    assert found == TextPayload(3, ContentType(content_type), data, texts, is_array)
    assert found.is_single is is_single


def test_a_payload_that_is_no_text_is_refused() -> None:
    with pytest.raises(ReadingRejected):
        text_payload(0, ContentType.JSON, b'{"a":"\xff"}')


def test_payloads_are_parsed_together_up_to_the_size_of_a_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Room for 120 bytes; a payload may begin as long as any is left."""
    passes: list[list[int]] = []
    monkeypatch.setattr(decode_module, "_PASS_BYTES", 120)
    monkeypatch.setattr(
        decode_module,
        "_decode_together",
        lambda payloads, batch: passes.append([p.message for p in payloads]) or [],
    )
    data = json.dumps({"a": "x" * 50}).encode()
    assert len(data) == 59
    payloads = [text_payload(index, ContentType.JSON, data) for index in range(5)]
    payloads.insert(2, text_payload(9, ContentType.JSON, data + b" "))
    alone = text_payload(7, ContentType.JSON, b"[\n1]")

    parts = decode_module.decode_texts([*payloads, alone], batch(*[message(b"[\n1]")] * 8))

    # 120 - 59 - 59 = 2 are left for the third.
    assert sorted(passes) == [[0, 1, 9], [2, 3, 4]]
    assert [refusal.message for part in parts for refusal in part.refusals] == [7]


@pytest.mark.parametrize(("most", "left_out"), [(1, [1]), (2, [1, 3]), (8, [1, 3, 4])])
def test_no_more_readings_are_set_apart_than_asked_for(most: int, left_out: list[int]) -> None:
    readings = [reading(n, **({"seq": "x"} if n in (1, 3, 4) else {})) for n in range(6)]
    data = as_json(*readings)
    payload = text_payload(0, ContentType.JSON, data)

    sifted, doubtful = decode_module._sift(payload, batch(message(data)), most)

    assert doubtful == left_out
    assert sifted.rows is not None
    assert sifted.rows.tolist() == [n for n in range(6) if n not in left_out]
    assert json.loads(sifted.texts[0]) == [readings[n] for n in sifted.rows]
    assert sifted.is_array


def test_a_payload_with_many_readings_in_doubt_comes_back_as_it_is() -> None:
    """Seven are set apart, eight are not; nor are those of a payload without any."""
    for count, expected in ((7, list(range(7))), (8, []), (0, [])):
        data = as_ndjson(*(reading(n, **({"seq": "x"} if n < count else {})) for n in range(10)))
        payload = text_payload(0, ContentType.NDJSON, data)
        of_batch = batch(message(data, NDJSON))

        sifted, doubtful = decode_module._sift(payload, of_batch, 8)

        assert doubtful == expected
        assert (sifted is payload) is not bool(expected)


def test_a_payload_of_nothing_but_doubtful_readings_has_no_text_left() -> None:
    data = as_json(reading(1, seq="x"), reading(2, seq="x"))
    payload = text_payload(0, ContentType.JSON, data)

    sifted, doubtful = decode_module._sift(payload, batch(message(data)), 8)

    assert (sifted.texts, doubtful) == ([], [0, 1])


def test_an_empty_array_is_parsed_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_judge", never)
    found = judge(message(b"[]"), message(as_json(reading(1), reading(2)), identity="2"))

    assert found.readings["seq"].to_pylist() == [1, 2]
    assert found.readings["message"].to_pylist() == [1, 1]
    assert found.refusals == []


def test_unknown_fields_of_a_reading_read_alone_are_counted() -> None:
    """The line break inside keeps it from the common parse."""
    text = json.dumps(reading(1) | {"phase": "L1", "note": None}).replace(",", ",\n", 1)
    found = judge(message(text.encode()), message(as_json(reading(2)), identity="2"))

    assert sorted(found.readings["seq"].to_pylist()) == [1, 2]
    assert found.unknown_fields == 2


def test_passes_that_fail_are_parted_until_the_bad_payload_stands_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nine readings in doubt are more than are set apart, so the payload itself is judged."""
    judged: list[tuple[int, Any]] = []
    original = decode_module._judge

    def watched(payload: TextPayload, rows: list[int] | None, of_batch: Any) -> Any:
        judged.append((payload.message, rows))
        return original(payload, rows, of_batch)

    monkeypatch.setattr(decode_module, "_judge", watched)
    payloads = [as_json(reading(n), reading(n + 100)) for n in range(40)]
    payloads[23] = as_json(*(reading(n, seq="x") for n in range(9)), reading(300))
    found = judge(*(message(data, identity=str(n)) for n, data in enumerate(payloads)))

    assert judged == [(23, None)]
    assert found.readings.num_rows == 79
    assert [r.row for r in found.refusals] == list(range(9))


def test_a_block_of_the_parse_holds_the_longest_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least power of two times the smallest block, however many lines there are."""
    sizes: list[int] = []
    real = pyarrow.json.ReadOptions

    def watched(**options: Any) -> Any:
        sizes.append(options["block_size"])
        return real(**options)

    monkeypatch.setattr(decode_module, "_LEAST_BLOCK_BYTES", 16)
    monkeypatch.setattr(pyarrow.json, "ReadOptions", watched)
    line = b'{"r":[]}'.ljust(39) + b"\n"
    decode_module._read_lines(line * 5, decode_module._KNOWN_ONLY)
    decode_module._read_lines(b'{"r":[]}\n' * 5, decode_module._KNOWN_ONLY)

    assert sizes == [64, 16]


@given(lines=st.lists(st.integers(0, 9), min_size=1, max_size=8), size=st.integers(2, 11))
def test_a_line_is_too_long_with_its_line_break(lines: list[int], size: int) -> None:
    text = b"".join(b"x" * length + b"\n" for length in lines)

    assert decode_module._longest_exceeds(text, size) == any(n + 1 > size for n in lines)


def test_a_message_that_names_no_content_type_is_json() -> None:
    assert content_type_of({}) is ContentType.JSON
    with pytest.raises(ReadingRejected, match="none of"):
        content_type_of({"content_type": "text/html"})


def test_readings_are_left_out_in_any_order_of_their_rows() -> None:
    assert without([b"a", b"b", b"c", b"d"], [0, 2]) == [b"b", b"d"]
    assert without([b"a", b"b", b"c", b"d"], [3, 1, 0]) == [b"c"]


def test_a_dictionary_may_unfold_to_exactly_as_many_bytes_as_allowed() -> None:
    """Five rows of two bytes."""
    column = pa.chunked_array([pa.array(["aa"] * 5).dictionary_encode()])

    assert as_wire("meter_id", column, 10).to_pylist() == ["aa"] * 5
    with pytest.raises(ReadingRejected, match="more than 9 bytes"):
        as_wire("meter_id", column, 9)


@pytest.mark.parametrize(
    ("seq", "kept"),
    [(2**63 - 1, True), (1 - 2**63, True), (2**63, False), (-(2**63), False), (True, False)],
)
def test_a_refused_reading_keeps_a_seq_of_64_bits(seq: int, kept: bool) -> None:
    part = part_of(json.dumps(reading(1, seq=seq)).encode())
    error = ReadingRejected(RejectionCode.WRONG_TYPE, "seq", "")

    refusal = refuse_reading(0, 0, part, error)

    assert refusal.seq == (seq if kept else None)
    assert (refusal.meter_id, refusal.pole_id) == ("m1", "p1")
