"""Compressed payloads are read within a bound, whatever they claim to hold."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable

import psutil
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_helpers import (
    ARROW,
    BOUNDS,
    JSON,
    NDJSON,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    batch,
    judge,
    message,
    reading,
)

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import ContentEncoding
from beam_jobs.archive import archived
from beam_jobs.compression import check_arrow_size, decompress
from beam_jobs.decode import PayloadBounds, decode


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESS = {ContentEncoding.GZIP: gzip.compress, ContentEncoding.ZSTD: zstd}


@pytest.mark.parametrize("encoding", ContentEncoding)
@pytest.mark.parametrize(
    ("content_type", "plain"),
    [
        (JSON, as_json(reading(1), reading(2))),
        (NDJSON, as_ndjson(reading(1), reading(2))),
        (ARROW, as_arrow(arrow_table(reading(1), reading(2)))),
    ],
)
def test_a_compressed_payload_is_read_as_its_content(
    encoding: ContentEncoding, content_type: str, plain: bytes
) -> None:
    squeezed = COMPRESS[encoding](plain)
    found = judge(message(squeezed, content_type, content_encoding=encoding))

    assert found.readings["seq"].to_pylist() == [1, 2]
    assert found.refusals == []


def test_the_archive_keeps_the_content_and_says_that_it_is_plain() -> None:
    plain = as_json(reading(1))
    found = judge(message(gzip.compress(plain), content_encoding="gzip", gateway_id="g"))
    (line,) = archived(found.batch, found.refusals).lines

    assert b'"readings":[' + plain + b"]}" in line
    assert b"content_encoding" not in line
    assert b'"gateway_id":"g"' in line


@pytest.mark.parametrize("encoding", ContentEncoding)
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"x" + b])
def test_a_damaged_payload_is_refused_whole_and_kept_as_it_came(
    encoding: ContentEncoding, damage: Callable[[bytes], bytes]
) -> None:
    squeezed = damage(COMPRESS[encoding](as_json(*[reading(i) for i in range(50)])))
    good = message(as_json(reading(7)), identity="2")
    found = judge(message(squeezed, content_encoding=encoding), good)

    assert found.readings["seq"].to_pylist() == [7]
    assert [(r.code, r.row, r.payload) for r in found.refusals] == [
        (RejectionCode.INVALID_COMPRESSION, None, squeezed)
    ]


def test_an_undecodable_content_is_kept_as_it_came() -> None:
    squeezed = gzip.compress(b"{")
    (refusal,) = judge(message(squeezed, content_encoding="gzip")).refusals

    assert (refusal.code, refusal.payload) == (RejectionCode.INVALID_JSON, squeezed)


def test_an_unknown_encoding_is_refused() -> None:
    (refusal,) = judge(message(b"{}", content_encoding="br")).refusals

    assert refusal.code == RejectionCode.UNKNOWN_CONTENT_ENCODING
    assert "gzip, zstd" in refusal.detail


@pytest.mark.parametrize("encoding", ContentEncoding)
def test_a_bomb_is_refused_before_it_takes_its_memory(encoding: ContentEncoding) -> None:
    bomb = COMPRESS[encoding](b"[" + b" " * 200_000_000 + b"]")
    before = pa.total_allocated_bytes()
    found = decode(batch(message(bomb, content_encoding=encoding)), BOUNDS)

    assert [r.code for r in found.refusals] == [RejectionCode.PAYLOAD_TOO_LARGE]
    assert pa.total_allocated_bytes() - before < BOUNDS.max_decoded_bytes


@given(st.binary(max_size=300), st.sampled_from(ContentEncoding), st.integers(0, 300))
def test_content_up_to_the_bound_is_given_whole_and_more_is_refused(
    content: bytes, encoding: ContentEncoding, bound: int
) -> None:
    squeezed = COMPRESS[encoding](content)
    if len(content) <= bound:
        assert decompress(squeezed, encoding, bound) == content
    else:
        with pytest.raises(ReadingRejected) as caught:
            decompress(squeezed, encoding, bound)
        assert caught.value.code == RejectionCode.PAYLOAD_TOO_LARGE


def stream(table: pa.Table, compression: str | None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def smallest_bound(data: bytes) -> int:
    """The least bound that the stream passes."""
    low, high = -1, 2**33
    while high - low > 1:
        middle = (low + high) // 2
        try:
            check_arrow_size(data, middle)
            high = middle
        except ReadingRejected:
            low = middle
    return high


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_the_size_of_an_arrow_stream_is_that_of_its_buffers(compression: str | None) -> None:
    columns = {
        "i": pa.array(range(1000), pa.int64()),
        "s": pa.array(["x" * (n % 70) for n in range(1000)]),
        "d": pa.array(["pole"] * 1000).dictionary_encode(),
        "l": pa.array([["a"] * (n % 3) for n in range(1000)]),
    }
    texts = sum(n % 70 for n in range(1000))
    expected = 8000 + 4004 + texts + 4000 + 8 + 4 + 4004 + 4 * 1000 + 999
    found = smallest_bound(stream(pa.table(columns), compression))

    # Buffers are padded to multiples of 8 bytes where they are not compressed.
    assert expected - 8 <= found <= expected + 128


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_an_arrow_bomb_is_refused_before_it_takes_its_memory(compression: str) -> None:
    rows = 20_000_000
    bomb = stream(
        pa.table({"seq": pa.array([0], pa.int64()).take(pa.repeat(0, rows))}), compression
    )
    assert len(bomb) < 2_000_000
    before = pa.total_allocated_bytes()
    found = decode(batch(message(bomb, ARROW)), BOUNDS)

    assert [r.code for r in found.refusals] == [RejectionCode.PAYLOAD_TOO_LARGE]
    assert pa.total_allocated_bytes() - before < BOUNDS.max_decoded_bytes


@pytest.mark.parametrize("name", ["seq", "phase"])
@pytest.mark.parametrize("in_list", [False, True])
def test_a_bomb_of_nulls_without_any_buffer_is_refused(name: str, in_list: bool) -> None:
    count = 20_000_000
    nulls = pa.nulls(count)
    column = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), nulls)
    bomb = stream(pa.table({name: column if in_list else nulls}), None)
    assert len(bomb) < 1000
    found = decode(batch(message(bomb, ARROW)), BOUNDS)

    assert [r.code for r in found.refusals] == [RejectionCode.PAYLOAD_TOO_LARGE]


def test_a_column_of_negative_length_does_not_make_up_for_a_long_one() -> None:
    data = bytearray(stream(pa.table({"a": pa.array([1] * 99), "b": pa.array([2] * 99)}), None))
    # Validity of b: offset 792, length 0.
    place = data.index(struct.pack("<qq", 792, 0)) + 8
    struct.pack_into("<q", data, place, -(2**62))
    with pytest.raises(ReadingRejected, match="negative"):
        check_arrow_size(bytes(data), 2**62)


@pytest.mark.parametrize("encoding", ContentEncoding)
def test_damaged_payloads_leave_no_memory_behind(encoding: ContentEncoding) -> None:
    cut = COMPRESS[encoding](b"abcdefgh" * 500_000)[:-9]
    process = psutil.Process()
    before = process.memory_info().vms
    for _ in range(50):
        with pytest.raises(ReadingRejected, match="not"):
            decompress(cut, encoding, 64_000_000)

    assert process.memory_info().vms - before < 10 * 64_000_000


def test_a_dictionary_that_unfolds_to_a_bomb_is_refused() -> None:
    table = arrow_table(*[reading(i) for i in range(1000)])
    names = pa.DictionaryArray.from_arrays(
        pa.array([0] * 1000, pa.int8()), pa.array(["x" * 10_000])
    )
    bomb = as_arrow(table.set_column(1, "meter_id", names))
    found = decode(batch(message(bomb, ARROW)), PayloadBounds(1_000_000, 1_000_000))

    assert [(r.code, r.field) for r in found.refusals] == [
        (RejectionCode.PAYLOAD_TOO_LARGE, "meter_id")
    ]


@given(st.data())
def test_damaged_streams_are_refused_and_never_crash(data: st.DataObject) -> None:
    whole = bytearray(stream(arrow_table(*[reading(i) for i in range(20)]), "zstd"))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(whole) - 4))
        value = data.draw(st.sampled_from([0, 1, 255, 127]) | st.integers(0, 255))
        whole[place] = value
        if data.draw(st.booleans()):
            struct.pack_into("<i", whole, place, data.draw(st.integers(-(2**31), 2**31 - 1)))
    found = judge(message(bytes(whole), ARROW), message(as_json(reading(900)), identity="2"))
    codes = {refusal.code for refusal in found.refusals}

    assert 900 in found.readings["seq"].to_pylist()
    assert codes <= set(RejectionCode)
