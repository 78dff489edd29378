"""Broken input lands in the dead letter with code, field and payload; its good neighbours are
stored."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_helpers import (
    ARROW,
    BOUNDS,
    EVENT_TS,
    JSON,
    NDJSON,
    archived_counts,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    batch,
    dead_letters,
    message,
    payload_of,
    reading,
    stored_rows,
)

from ami_contract.lake import DataDir
from ami_contract.reading import REQUIRED_FIELDS
from beam_jobs.bounded import BoundedGraph
from beam_jobs.pipeline import Ingest

GOOD = json.dumps(reading())


class Broken(NamedTuple):
    """A payload with what must become of it.

    Attributes:
        data: the payload.
        refused: (code, field, row) of every dead letter; row None: the whole payload.
        stored: readings of the payload that are stored all the same.
        content_type: as the message claims.
    """

    data: bytes
    refused: list[tuple[str, str | None, int | None]]
    stored: int = 0
    content_type: str | None = JSON


def whole(data: bytes, code: str, content_type: str | None = JSON) -> Broken:
    return Broken(data, [(code, None, None)], 0, content_type)


def one(code: str, field: str | None, **changes: Any) -> Broken:
    return Broken(as_json(reading(**changes)), [(code, field, 0)])


def raw(code: str, field: str | None, old: str, new: str) -> Broken:
    assert GOOD.count(old) == 1
    return Broken(GOOD.replace(old, new).encode(), [(code, field, 0)])


def five_hundred(bad: Any) -> bytes:
    readings: list[Any] = [reading(seq) for seq in range(500)]
    readings[250] = bad
    return as_json(*readings)


def column(name: str, values: pa.Array) -> bytes:
    """An Arrow payload of two readings with one column exchanged."""
    table = arrow_table(reading(1), reading(2))
    index = table.schema.get_field_index(name)
    return as_arrow(table.set_column(index, name, values))


def micros(*texts: int, zone: str | None = "UTC", unit: str = "us") -> pa.Array:
    return pa.array(texts, pa.int64()).cast(pa.timestamp(unit, zone))


GOOD_US = int(EVENT_TS.timestamp() * 1_000_000)

BROKEN: dict[str, Broken] = {
    # Payloads that cannot be read at all.
    "empty": whole(b"", "empty_payload"),
    "whitespace": whole(b" \t\r\n ", "empty_payload"),
    "empty ndjson": whole(b"\n\n", "empty_payload", NDJSON),
    "not utf-8": whole(GOOD.encode().replace(b"m1", b"m\xff"), "not_utf8"),
    "utf-16": whole(GOOD.encode("utf-16"), "not_utf8"),
    "byte order mark": whole(b"\xef\xbb\xbf" + GOOD.encode(), "invalid_json"),
    "truncated json": whole(GOOD.encode()[:-10], "invalid_json"),
    "truncated array": whole(as_json(reading(1), reading(2))[:-1], "invalid_json"),
    "two texts": whole(GOOD.encode() + b" " + GOOD.encode(), "invalid_json"),
    "trailing comma": whole(b"[" + GOOD.encode() + b",]", "invalid_json"),
    "single quotes": whole(GOOD.replace('"', "'").encode(), "invalid_json"),
    "vertical tab": whole(b"\x0b" + GOOD.encode(), "invalid_json"),
    "scalar": whole(b"42", "not_a_reading"),
    "string": whole(b'"reading"', "not_a_reading"),
    "null": whole(b"null", "not_a_reading"),
    "9 MB": whole(b"[" + b" " * 9_000_000 + b"]", "payload_too_large"),
    "9 MB not utf-8": whole(b"\xff" * 9_000_000, "payload_too_large"),
    "unknown content type": whole(GOOD.encode(), "unknown_content_type", "text/csv"),
    "nested 100 000 deep": whole(b"[" * 100_000 + b"]" * 100_000, "invalid_json"),
    "unclosed 100 000 deep": whole(b"[" * 100_000, "invalid_json"),
    "objects 100 000 deep": whole(b'{"r":' * 100_000 + b"1" + b"}" * 100_000, "invalid_json"),
    "unknown field 100 000 deep": whole(
        GOOD.replace('"seq"', '"x":' + "[" * 100_000 + "]" * 100_000 + ',"seq"').encode(),
        "invalid_json",
    ),
    # Payloads that would pass for readings if they were pasted into a larger text.
    "closes the wrapper": whole(f'[{GOOD}],"r":[{GOOD}]'.encode(), "invalid_json"),
    "opens a second text": whole(f'[{GOOD}]}} {{"r":[{GOOD}]'.encode(), "invalid_json"),
    "adds a key to the wrapper": whole(f'[{GOOD}],"x":[1]'.encode(), "invalid_json"),
    "adds a spaced key": whole(f'[{GOOD}],"x" :[1]'.encode(), "invalid_json"),
    "closes the wrapper of an object": whole(f'{GOOD}],"x" :[1'.encode(), "invalid_json"),
    "two objects": whole(f"{GOOD},{GOOD}".encode(), "invalid_json"),
    # One reading that is not as the contract says.
    "number as string": one("wrong_type", "voltage_v", voltage_v="240.5"),
    "boolean as number": one("wrong_type", "current_a", current_a=True),
    "list as number": one("wrong_type", "power_kw", power_kw=[1.0]),
    "object as number": one("wrong_type", "freq_hz", freq_hz={"hz": 60}),
    "number as identifier": one("wrong_type", "meter_id", meter_id=7),
    "number as timestamp": one("wrong_type", "event_ts", event_ts=1772364600),
    "text as flags": one("wrong_type", "quality_flags", quality_flags="estimated"),
    "null among flags": one("wrong_type", "quality_flags", quality_flags=["estimated", None]),
    "NaN": one("not_finite", "voltage_v", voltage_v=float("nan")),
    "Infinity": one("not_finite", "voltage_v", voltage_v=float("inf")),
    "-Infinity": one("not_finite", "power_kw", power_kw=float("-inf")),
    "1e999": raw("not_finite", "voltage_v", "240.5", "1e999"),
    "5 000 digits": raw("not_finite", "current_a", "4.5", "9" * 5000),
    "voltage too high": one("out_of_range", "voltage_v", voltage_v=1000.5),
    "frequency too low": one("out_of_range", "freq_hz", freq_hz=39.99),
    "seq 1.5": one("not_an_integer", "seq", seq=1.5),
    "seq negative": one("out_of_range", "seq", seq=-1),
    "seq beyond 64 bits": one("out_of_range", "seq", seq=2**63),
    "seq of 31 digits": one("out_of_range", "seq", seq=10**30),
    "seq as string": one("wrong_type", "seq", seq="1"),
    "far future": one("timestamp_in_future", "event_ts", event_ts="2099-01-01T00:00:00Z"),
    "end of time": one("timestamp_in_future", "event_ts", event_ts="9999-12-31T23:59:59Z"),
    "just too early": one("timestamp_in_future", "event_ts", event_ts="2026-03-01T12:05:01Z"),
    "too old": one("timestamp_too_old", "event_ts", event_ts="1999-12-31T23:59:59Z"),
    "year 1": one("timestamp_too_old", "event_ts", event_ts="0001-01-01T00:00:00Z"),
    "without zone": one("timestamp_without_zone", "event_ts", event_ts="2026-03-01T11:30:00"),
    "garbage timestamp": one("bad_timestamp", "event_ts", event_ts="yesterday"),
    "31 February": one("bad_timestamp", "event_ts", event_ts="2026-02-31T11:30:00Z"),
    "bad identifier": one("bad_identifier", "meter_id", meter_id="m 1; DROP"),
    "empty identifier": one("bad_identifier", "pole_id", pole_id=""),
    "long identifier": one("bad_identifier", "pole_id", pole_id="p" * 129),
    "identifier with line end": one("bad_identifier", "meter_id", meter_id="m1\n"),
    "half a surrogate pair": raw("bad_identifier", "meter_id", '"m1"', r'"\ud800"'),
    "half a pair in a time": raw("bad_timestamp", "event_ts", "2026-03-01T", r"\ud800"),
    "half a pair in a flag": raw(
        "wrong_type", "quality_flags", '"seq"', r'"quality_flags": ["\ud800"], "seq"'
    ),
    "duplicate key": raw("duplicate_key", "seq", '"seq": 1', '"seq": 1, "seq": 2'),
    **{f"null {name}": one("null_field", name, **{name: None}) for name in REQUIRED_FIELDS},
    **{f"missing {name}": one("missing_field", name, **{name: ...}) for name in REQUIRED_FIELDS},
    "empty object": Broken(b"{}", [("missing_field", "event_ts", 0)]),
    # Good and bad in one payload.
    "one of 500 out of range": Broken(
        five_hundred(reading(250, voltage_v=-1)), [("out_of_range", "voltage_v", 250)], 499
    ),
    "one of 500 of a wrong type": Broken(
        five_hundred(reading(250, voltage_v="high")), [("wrong_type", "voltage_v", 250)], 499
    ),
    "one of 500 null": Broken(five_hundred(None), [("not_a_reading", None, 250)], 499),
    "one of 500 an array": Broken(
        five_hundred([reading(250)]), [("not_a_reading", None, 250)], 499
    ),
    "one of 500 a huge seq": Broken(
        five_hundred(reading(250, seq=10**30)), [("out_of_range", "seq", 250)], 499
    ),
    "nested array": Broken(b"[[" + GOOD.encode() + b"]]", [("not_a_reading", None, 0)]),
    "scalars in an array": Broken(
        b'[1,"x",' + GOOD.encode() + b",true]",
        [("not_a_reading", None, row) for row in (0, 1, 3)],
        1,
    ),
    "ndjson with one bad line": Broken(
        as_ndjson(reading(1)) + b"\n{oops\n\n" + as_ndjson(reading(2), reading(3)),
        [("invalid_json", None, 1)],
        3,
        NDJSON,
    ),
    "ndjson with one bad value": Broken(
        as_ndjson(reading(1), reading(2, seq=1.5), reading(3)).replace(b"\n", b"\r\n"),
        [("not_an_integer", "seq", 1)],
        2,
        NDJSON,
    ),
    "ndjson line of no-break space": Broken(
        as_ndjson(reading(1)) + b"\n\xc2\xa0\n", [("invalid_json", None, 1)], 1, NDJSON
    ),
    "ndjson lines that only fit together": Broken(
        b'{"event_ts":"x"\n"y":1}\n' + as_ndjson(reading(1)) + b"," + as_ndjson(reading(2)),
        [("invalid_json", None, row) for row in (0, 1, 2)],
        0,
        NDJSON,
    ),
    "ndjson with an array": Broken(
        b"[" + GOOD.encode() + b"]\n" + GOOD.encode(), [("not_a_reading", None, 0)], 1, NDJSON
    ),
    # Arrow.
    "no arrow stream": whole(b"ARROW1 is what files begin with", "invalid_arrow", ARROW),
    "json as arrow": whole(GOOD.encode(), "invalid_arrow", ARROW),
    "truncated arrow": whole(as_arrow(arrow_table(reading()))[:700], "invalid_arrow", ARROW),
    "arrow text that is not utf-8": whole(
        as_arrow(arrow_table(reading(meter_id="abcdef"))).replace(b"abcdef", b"abc\xff\xfe\xfd"),
        "invalid_arrow",
        ARROW,
    ),
    "arrow without a column": Broken(
        as_arrow(arrow_table(reading()).drop_columns(["seq"])),
        [("missing_field", "seq", None)],
        0,
        ARROW,
    ),
    "arrow with a column twice": Broken(
        as_arrow(arrow_table(reading()).append_column("seq", pa.array([1]))),
        [("duplicate_key", "seq", None)],
        0,
        ARROW,
    ),
    "arrow with naive timestamps": Broken(
        column("event_ts", micros(GOOD_US, GOOD_US, zone=None)),
        [("wrong_type", "event_ts", None)],
        0,
        ARROW,
    ),
    "arrow with fractional seq": Broken(
        column("seq", pa.array([1.0, 1.5])), [("wrong_type", "seq", None)], 0, ARROW
    ),
    "arrow with seq beyond 64 bits": Broken(
        column("seq", pa.array([1, 2**63], pa.uint64())), [("out_of_range", "seq", 1)], 1, ARROW
    ),
    "arrow with numbers as text": Broken(
        column("voltage_v", pa.array(["240", "241"])), [("wrong_type", "voltage_v", None)], 0, ARROW
    ),
    "arrow with booleans": Broken(
        column("power_kw", pa.array([True, False])), [("wrong_type", "power_kw", None)], 0, ARROW
    ),
    "arrow with a null": Broken(
        column("voltage_v", pa.array([None, 241.0])), [("null_field", "voltage_v", 0)], 1, ARROW
    ),
    "arrow with NaN": Broken(
        column("voltage_v", pa.array([240.0, float("nan")])),
        [("not_finite", "voltage_v", 1)],
        1,
        ARROW,
    ),
    "arrow beyond the calendar": Broken(
        column("event_ts", micros(GOOD_US, 2**62)), [("bad_timestamp", "event_ts", 1)], 1, ARROW
    ),
    "arrow nanoseconds too old": Broken(
        column("event_ts", micros(1, GOOD_US * 1000, unit="ns")),
        [("timestamp_too_old", "event_ts", 0)],
        1,
        ARROW,
    ),
    "arrow in a zone nobody knows": Broken(
        column("event_ts", micros(GOOD_US, 0, zone="Mars/Olympus")),
        [("timestamp_too_old", "event_ts", 1)],
        1,
        ARROW,
    ),
    "arrow seconds that would wrap": Broken(
        column("event_ts", micros(1, (2**64 + GOOD_US) // 10**6, unit="s")),
        [("timestamp_too_old", "event_ts", 0), ("bad_timestamp", "event_ts", 1)],
        0,
        ARROW,
    ),
    "arrow with a dictionary of lists": Broken(
        column(
            "quality_flags",
            pa.DictionaryArray.from_arrays(
                pa.array([0, 0]), pa.array([["tamper"]], pa.list_(pa.string()))
            ),
        ),
        [("wrong_type", "quality_flags", None)],
        0,
        ARROW,
    ),
    "arrow with a dictionary of structs": Broken(
        column("seq", pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([{"seq": 1}]))),
        [("wrong_type", "seq", None)],
        0,
        ARROW,
    ),
    **{
        f"arrow with an unknown column of {values.type}": Broken(
            as_arrow(
                arrow_table(reading(1), reading(2, seq=-1), reading(3)).append_column("x", values)
            ),
            [("out_of_range", "seq", 1)],
            2,
            ARROW,
        )
        for values in (
            pa.array(["a", None, "b"], pa.string_view()),
            pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([1.5])),
            pa.array([[1], [], [2]], pa.list_view(pa.int64())),
            pa.nulls(3),
        )
    },
    "arrow times as text": Broken(
        column("event_ts", pa.array([reading(1)["event_ts"], "2026-03-01 11:30:00"])),
        [("timestamp_without_zone", "event_ts", 1)],
        1,
        ARROW,
    ),
}


def _number(text: str) -> int | float:
    return int(text) if len(text) < 100 else float(text)


def elements(broken: Broken) -> list[bytes]:
    """Original text of each reading of a payload."""
    if broken.content_type == NDJSON:
        return [text for line in broken.data.split(b"\n") if (text := line.strip(b" \t\r"))]
    loaded = json.loads(broken.data, parse_int=_number)
    return [json.dumps(e).encode() for e in loaded] if isinstance(loaded, list) else [broken.data]


class Outcome(NamedTuple):
    """What a run over one batch per kind has left, and which segment each kind is."""

    data: DataDir
    segments: dict[str, str]
    letters: dict[str, list[dict[str, Any]]]
    rows: dict[str, list[dict[str, Any]]]
    archived: dict[str, Counter[str]]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One Beam run; every kind of broken payload is a batch of its own between good messages."""
    data = DataDir(tmp_path_factory.mktemp("broken"))
    segments = {kind: f"kind-{number}" for number, kind in enumerate(BROKEN)}
    batches = [
        batch(
            message(as_json(reading(1001), reading(1002)), identity=f"before {kind}"),
            message(broken.data, broken.content_type, identity=kind, gateway_id="g7"),
            message(as_json(reading(1003)), identity=f"after {kind}"),
            segment=segments[kind],
        )
        for kind, broken in BROKEN.items()
    ]
    BoundedGraph(Ingest(data.root, BOUNDS)).run(batches)
    rows: dict[str, list[dict[str, Any]]] = {segment: [] for segment in segments.values()}
    for path in data.landing.rglob("[!.]*.parquet"):
        rows[path.name.partition(".")[0]] += pq.read_table(path).to_pylist()
    archived = {
        segment: Counter(dict(archived_counts(data, segment))) for segment in segments.values()
    }
    letters = {
        path.stem: [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for path in (data.deadletter / "segments").rglob("*.jsonl")
    }
    return Outcome(data, segments, letters, rows, archived)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_payload_is_dead_lettered_and_its_neighbours_stored(
    kind: str, outcome: Outcome
) -> None:
    broken, segment = BROKEN[kind], outcome.segments[kind]
    letters = outcome.letters[segment]
    found = [(r["code"], r["field"], r["row"]) for r in letters]

    assert sorted(found, key=str) == sorted(broken.refused, key=str)
    assert Counter(row["batch_id"] for row in outcome.rows[segment]) == Counter(
        {f"before {kind}": 2, f"after {kind}": 1} | ({kind: broken.stored} if broken.stored else {})
    )
    assert {r["message_id"] for r in letters} == {kind}
    assert all(r["detail"] and "\n" not in r["detail"] for r in letters)
    assert all(r["attributes"]["gateway_id"] == "g7" for r in letters)
    for letter in letters:
        payload = payload_of(letter, outcome.data)
        assert letter["payload_bytes"] == len(payload)
        if letter["row"] is None:
            assert payload == broken.data
        elif broken.content_type != ARROW:
            assert payload == elements(broken)[letter["row"]]
        else:
            assert json.loads(payload)["pole_id"] == "p1"
    assert outcome.archived[segment] == Counter(
        {f"before {kind}": 2, f"after {kind}": 1} | ({kind: broken.stored} if broken.stored else {})
    )


def test_all_kinds_in_one_batch_come_out_as_each_alone(data: DataDir) -> None:
    messages = [
        message(broken.data, broken.content_type, identity=kind) for kind, broken in BROKEN.items()
    ]
    between = [message(as_json(reading(1100 + i)), identity=f"good {i}") for i in range(20)]
    graph = BoundedGraph(Ingest(data.root, BOUNDS))
    counters = graph.run([batch(*messages, *between)]).counters

    found = Counter((r["message_id"], r["code"], r["field"], r["row"]) for r in dead_letters(data))
    assert found == Counter(
        (kind, *refusal) for kind, broken in BROKEN.items() for refusal in broken.refused
    )
    assert counters["stored"] == 20 + sum(broken.stored for broken in BROKEN.values())
    assert counters["messages"] == len(BROKEN) + 20


def test_a_dead_letter_names_meter_pole_and_seq_as_far_as_they_can_be_read(data: DataDir) -> None:
    messages = batch(
        message(as_json(reading(7, voltage_v=None)), identity="a"),
        message(as_json(reading(8, meter_id=5, seq=True)), identity="b"),
        message(b"{", identity="c"),
    )
    BoundedGraph(Ingest(data.root, BOUNDS)).run([messages])

    found = {r["message_id"]: (r["meter_id"], r["pole_id"], r["seq"]) for r in dead_letters(data)}
    assert found == {
        "a": ("m1", "p1", 7),
        "b": (None, "p1", None),
        "c": (None, None, None),
    }


def test_a_redelivered_refusal_has_the_same_identity(data: DataDir) -> None:
    broken = message(as_json(reading(1), reading(2, seq=-1), reading(3, seq=-1)))
    for segment in ("first", "second"):
        BoundedGraph(Ingest(data.root, BOUNDS)).run([batch(broken, segment=segment)])

    identities = [r["dead_letter_id"] for r in dead_letters(data)]
    assert len(identities) == 4
    assert len(set(identities)) == 2


@pytest.mark.parametrize("first_row", ["x", "-1", "1.5", "9" * 5000, "²", ""])
def test_a_stranger_s_row_attribute_is_no_poison(data: DataDir, first_row: str) -> None:
    messages = batch(message(b"{", first_row=first_row), message(as_json(reading()), identity="2"))
    BoundedGraph(Ingest(data.root, BOUNDS)).run([messages])

    assert [(r["code"], r["source_row"]) for r in dead_letters(data)] == [("invalid_json", None)]
    assert len(stored_rows(data)) == 1


def test_many_keys_with_one_twice_are_judged_in_linear_time(data: DataDir) -> None:
    keys = ",".join(f'"k{i}":1' for i in range(100_000))
    payload = f'{{{keys},"seq":1,"seq":1}}'.encode()
    BoundedGraph(Ingest(data.root, BOUNDS)).run([batch(message(payload))])

    assert [(r["code"], r["field"]) for r in dead_letters(data)] == [("duplicate_key", "seq")]
