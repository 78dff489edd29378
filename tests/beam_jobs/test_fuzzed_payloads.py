"""Whatever bytes arrive: each reading is stored or dead-lettered, and good neighbours are stored.

The whole graph runs with its local sinks; what should become of a payload is told by Python's own
JSON reader and by Arrow's.
"""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ingest_helpers import (
    ARROW,
    BOUNDS,
    FIELD_NAMES,
    JSON,
    NDJSON,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    batch,
    message,
    payload_of,
    reading,
)

from ami_contract.errors import RejectionCode
from ami_contract.lake import DataDir
from beam_jobs.archive import READINGS_KEY
from beam_jobs.archive_places import texts_of
from beam_jobs.bounded import BoundedGraph
from beam_jobs.elements import Message
from beam_jobs.pipeline import Ingest

LONGEST_EXAMPLE_S = 20.0
BLANKS = b" \t\n\r"
LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
FULL = reading(2, reactive_kvar=0.25, freq_hz=60.02, quality_flags=["estimated", "tamper"])


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def compressed_arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


TABLE = arrow_table(reading(1), FULL, reading(3, voltage_v=-1.0))
WHOLE = [
    (JSON, as_json(reading(1), FULL, reading(3))),
    (JSON, as_json(FULL)),
    (JSON, json.dumps([reading(1, note="naïve", phase=None), FULL, None], indent=1).encode()),
    (NDJSON, as_ndjson(reading(1), FULL, reading(3))),
    (NDJSON, as_ndjson(FULL, reading(3)).replace(b"\n", b"\r\n\n")),
    (ARROW, as_arrow(TABLE)),
    (ARROW, compressed_arrow(TABLE)),
    (ARROW, compressed_arrow(TABLE.set_column(1, "meter_id", TABLE[1].dictionary_encode()))),
    (ARROW, as_arrow(TABLE.append_column("u", pa.array(["a", "b", "c"], pa.string_view())))),
]
INSERTS = [
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 30, b"9" * 5000, b"01", b"1.5", b"-0", b"{}"),
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n", b"\r", b"\x00", b"\x0b", b"\x1f"),
    *(b"\xff", b"\xc2\xa0", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"/**/", b'"seq":1,', b'"x":[1],'),
    *(b'"\\u0073eq":2,', b'"\\ud800"', b"[" * 2000, b'{"a":' * 2000, b"]" * 2000, b"\xff" * 8),
    *((2**62).to_bytes(8, "little"), (-(2**40)).to_bytes(8, "little", signed=True), b"\x00" * 8),
]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A whole payload with its content type, damaged up to four times."""
    content_type, data = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        width = draw(st.sampled_from([1, 1, 4, 8, 60]))
        before, after = data[:place], data[place:]
        kind = draw(st.sampled_from(["flip", "cut", "drop", "repeat", "insert", "splice"]))
        if kind == "flip" and after:
            data = before + bytes([after[0] ^ draw(st.integers(1, 255))]) + after[1:]
        elif kind == "cut":
            data = before
        elif kind == "drop":
            data = before + after[width:]
        elif kind == "repeat":
            data = before + after[:width] + after
        elif kind == "insert":
            data = before + draw(st.sampled_from(INSERTS)) + after
        elif kind == "splice":
            _, other = draw(st.sampled_from(WHOLE))
            data = before + other[draw(st.integers(0, len(other))) :]
    return content_type, data


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=5)
    | st.sampled_from([10**400, "2026-03-01T11:30:00Z", "2026-03-01T11:59:60Z", "m1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
CHANGED = st.dictionaries(st.sampled_from([*FIELD_NAMES, "phase"]), VALUES, max_size=2).map(
    lambda changes: reading(1, **changes)
)
CONTENTS = st.one_of(
    mutated(),
    st.tuples(
        st.just(JSON), st.lists(CHANGED | VALUES, max_size=4).map(json.dumps).map(str.encode)
    ),
    st.tuples(st.just(NDJSON), st.lists(CHANGED, max_size=4).map(lambda r: as_ndjson(*r))),
    st.tuples(st.just(JSON), st.binary(max_size=60)),
    st.tuples(st.just(JSON), st.text(max_size=30).map(str.encode)),
)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd}


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    """Fuzzed messages between two good ones."""
    found = [message(as_json(reading(101), reading(102)), identity="first")]
    for number in range(draw(st.integers(1, 4))):
        content_type, data = draw(CONTENTS)
        claimed: str | None = content_type
        attributes = {}
        if draw(st.integers(0, 9)) == 0:
            claimed = draw(
                st.sampled_from([JSON, NDJSON, ARROW, None, "", "text/csv", "naïve\x00"])
            )
        if draw(st.integers(0, 4)) == 0:
            encoding = draw(st.sampled_from(["gzip", "zstd", "br", ""]))
            attributes["content_encoding"] = encoding
            data = COMPRESS.get(encoding, bytes)(data)
            data = data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
        found.append(message(data, claimed, identity=f"fuzzed-{number}", **attributes))
    return [*found, message(as_arrow(arrow_table(reading(103))), ARROW, identity="last")]


def plain(item: Message) -> bytes | None:
    """The content of a payload; None: it must be refused."""
    encoding = item.attributes.get("content_encoding")
    if not encoding:
        return item.data
    try:
        with pa.CompressedInputStream(pa.BufferReader(item.data), encoding) as stream:
            return bytes(stream.read_buffer(BOUNDS.max_decoded_bytes))
    except (OSError, ValueError):
        return None


def count_of_readings(item: Message) -> int | None:
    """How many readings a payload holds; None: it must be refused as a whole."""
    data = plain(item)
    claimed = item.attributes.get("content_type", JSON)
    if data is None or not data.strip(BLANKS):
        return None
    try:
        if claimed == ARROW:
            return int(pa.ipc.open_stream(data).read_all().num_rows)
        text = data.decode()
        if claimed == NDJSON:
            return sum(1 for line in text.split("\n") if line.strip(BLANKS.decode()))
        if claimed != JSON:
            return None
        # As long integers as Python does not read are numbers all the same.
        loaded = json.loads(text, parse_int=lambda digits: 0)
    except (ValueError, RecursionError, OSError, pa.ArrowException):
        return None
    if isinstance(loaded, list):
        return len(loaded)
    return 1 if isinstance(loaded, dict) else None


class Left(NamedTuple):
    """What a batch has left, by message.

    Attributes:
        rows: how many landed.
        archived: texts of the archived readings; of Arrow payloads how many there are.
        letters: dead letters.
    """

    rows: Counter[str]
    archived: dict[str, list[bytes] | int]
    letters: dict[str, list[dict[str, Any]]]


def left_by(data: DataDir, segment: str) -> Left:
    rows: Counter[str] = Counter()
    for path in data.landing.rglob(f"{segment}.*parquet"):
        rows.update(pq.read_table(path, columns=["batch_id"])["batch_id"].to_pylist())
    archived: dict[str, list[bytes] | int] = {}
    for path in data.archive.rglob(f"{segment}.jsonl"):
        for line in path.read_bytes().splitlines():
            head, _, readings = line.partition(READINGS_KEY)
            identity = orjson.loads(head + b"}")["message_id"]
            assert identity not in archived
            archived[identity] = texts_of(readings.removesuffix(b"]}"))
    for path in data.archive.rglob(f"{segment}.arrow"):
        for row in pa.ipc.open_file(path).read_all().to_pylist():
            assert row["message_id"] not in archived
            archived[row["message_id"]] = pa.ipc.open_stream(row["payload"]).read_all().num_rows
    letters: dict[str, list[dict[str, Any]]] = {}
    for path in data.deadletter.rglob(f"{segment}.jsonl"):
        for line in path.read_bytes().splitlines():
            letter = orjson.loads(line)
            letters.setdefault(letter["message_id"], []).append(letter)
    return Left(rows, archived, letters)


def is_part_of(text: bytes, payload: bytes) -> bool:
    return text.translate(LINE_ENDS) in payload.translate(LINE_ENDS)


def check(item: Message, left: Left, data: DataDir) -> None:
    """Each reading of a message is stored and archived, or refused with its bytes."""
    letters = left.letters.get(item.message_id, [])
    archived = left.archived.get(item.message_id, 0)
    kept = archived if isinstance(archived, int) else len(archived)
    expected = count_of_readings(item)

    assert left.rows[item.message_id] == kept
    assert all(letter["code"] in set(RejectionCode) and letter["detail"] for letter in letters)
    whole = [letter for letter in letters if letter["row"] is None]
    if whole:
        assert (len(letters), kept) == (1, 0)
        assert payload_of(whole[0], data) == item.data
        return
    assert expected is not None, "an unreadable payload was not refused"
    rows = [letter["row"] for letter in letters]
    assert len(set(rows)) == len(rows)
    assert all(0 <= row < expected for row in rows)
    assert kept + len(rows) == expected
    if item.attributes.get("content_type", JSON) != ARROW:
        content = plain(item) or b""
        assert all(is_part_of(payload_of(letter, data), content) for letter in letters)
        assert isinstance(archived, int) or all(is_part_of(text, content) for text in archived)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@pytest.fixture(scope="module")
def graph(lake: Path) -> BoundedGraph:
    return BoundedGraph(Ingest(lake, BOUNDS))


@pytest.fixture(scope="module")
def segments() -> Iterator[str]:
    return (f"example-{number}" for number in itertools.count())


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(messages())
@example(
    [message(b"[" * 100_000, identity="x"), message(b"[]"), message(as_json(FULL), identity="y")]
)
def test_every_payload_is_accounted_for(
    lake: Path, graph: BoundedGraph, segments: Iterator[str], found: list[Message]
) -> None:
    segment, data = next(segments), DataDir(lake)
    begun = time.monotonic()
    graph.run([batch(*found, segment=segment)])

    assert time.monotonic() - begun < LONGEST_EXAMPLE_S
    left = left_by(data, segment)
    for item in found:
        check(item, left, data)
    good = {item.message_id for item in found} & {"first", "last"}
    assert {identity: left.rows[identity] for identity in good} == {
        identity: {"first": 2, "last": 1}[identity] for identity in good
    }
    assert not left.letters.keys() & good
    known = {item.message_id for item in found}
    assert {*left.rows, *left.archived, *left.letters} <= known
