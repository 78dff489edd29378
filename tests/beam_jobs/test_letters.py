"""Dead letters: each counts until it is stored after all, and never twice."""

from __future__ import annotations

import gzip
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from ingest_helpers import (
    ARROW,
    BOUNDS,
    NDJSON,
    NOW,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    batch,
    dead_letters,
    json_lines,
    message,
    reading,
    stored_rows,
)
from test_layout import Killed, killed_at

from ami_contract.errors import LakeError, LockHeldError
from ami_contract.lake import DataDir
from ami_store.files import locked
from ami_store.ledger import replayed_letters
from beam_jobs import validate as validate_module
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message
from beam_jobs.layout import archive_files, read_lines
from beam_jobs.letters import (
    Choice,
    Replayed,
    letters,
    message_of,
    replay_letters,
    summary,
    whole_payload,
)
from beam_jobs.pipeline import Ingest

AHEAD = (NOW + timedelta(minutes=10)).isoformat()
"""Too far ahead at NOW, fine an hour later."""

LATER = NOW + timedelta(hours=1)
NARROW = PayloadBounds(max_payload_bytes=60, max_decoded_bytes=10_000)


def take_in(
    data: DataDir, *messages: Message, bounds: PayloadBounds = BOUNDS, name: str = "seg"
) -> None:
    BoundedGraph(Ingest(data.root, bounds)).run([batch(*messages, segment=name)])


def again(data: DataDir, choice: Choice | None = None, **options: Any) -> Replayed:
    options = {"now": LATER, "bounds": BOUNDS} | options
    return replay_letters(data, choice or Choice(), **options)


def archived_texts(data: DataDir) -> list[tuple[str, int]]:
    """`ingest_ts` and `seq` of what counts in the archive."""
    return sorted(
        (line["ingest_ts"], r["seq"])
        for path in archive_files(data)
        for line in map(orjson.loads, read_lines(path))
        for r in line["readings"]
    )


def codes(data: DataDir) -> Counter[str]:
    return Counter(letter.code for letter in letters(data))


def seqs(data: DataDir) -> list[int]:
    return sorted(row["seq"] for row in stored_rows(data))


def test_letters_that_are_good_by_now_are_stored_and_the_others_stay(data: DataDir) -> None:
    take_in(
        data,
        message(as_json(reading(1), reading(2, event_ts=AHEAD), reading(3, seq=-1)), identity="a"),
        message(b"{", identity="b"),
    )
    done = again(data)

    assert (done.letters, done.left, done.stored) == (3, 1, 1)
    assert done.refused == {"out_of_range": 1, "invalid_json": 1}
    assert seqs(data) == [1, 2]
    (late,) = [row for row in stored_rows(data) if row["seq"] == 2]
    assert late["ingest_ts"] == LATER
    assert codes(data) == {"out_of_range": 1, "invalid_json": 1}
    assert archived_texts(data) == [("2026-03-01T12:00:00Z", 1), ("2026-03-01T13:00:00Z", 2)]


def test_a_second_replay_changes_nothing(data: DataDir) -> None:
    take_in(data, message(as_json(reading(1, event_ts=AHEAD), reading(2, seq=-1))))
    again(data)
    lines = len(dead_letters(data))
    done = again(data)

    assert (done.letters, done.left, done.stored) == (1, 0, 0)
    assert seqs(data) == [1]
    assert len(dead_letters(data)) == lines


def test_a_redelivered_message_is_one_letter_and_stays_out_once_replayed(data: DataDir) -> None:
    late = message(as_json(reading(1, event_ts=AHEAD)))
    take_in(data, late)
    take_in(data, late, name="seg2")
    assert codes(data) == {"timestamp_in_future": 1}
    again(data)
    take_in(data, late, name="seg3")

    assert codes(data) == {}


def test_the_recorded_clock_judges_as_of_arrival(data: DataDir) -> None:
    take_in(data, message(as_json(reading(1, event_ts=AHEAD))), message(b"1" * 61, identity="b"))

    assert again(data, recorded_clock=True).stored == 0


@pytest.mark.parametrize(
    "form",
    [
        lambda *r: message(as_json(*r), identity="x"),
        lambda *r: message(as_ndjson(*r), NDJSON, identity="x"),
        lambda *r: message(as_arrow(arrow_table(*r)), ARROW, identity="x"),
        lambda *r: message(gzip.compress(as_json(*r)), content_encoding="gzip", identity="x"),
    ],
)
def test_every_form_of_message_comes_back(data: DataDir, form: Any) -> None:
    first, second = reading(1, event_ts=AHEAD), reading(2, seq=-1)
    take_in(data, form(first, second))
    done = again(data)

    assert (done.left, done.stored, done.refused) == (1, 1, {"out_of_range": 1})
    (row,) = stored_rows(data)
    assert (row["seq"], row["event_ts"]) == (1, datetime.fromisoformat(AHEAD))
    assert row["voltage_v"] == 240.5


def test_a_payload_refused_whole_leaves_with_a_letter_for_what_is_left_of_it(
    data: DataDir,
) -> None:
    payload = as_json(reading(1), reading(2, seq=-1))
    zipped = gzip.compress(payload)
    take_in(
        data,
        message(payload, identity="a"),
        message(zipped, identity="b", content_encoding="gzip"),
        bounds=NARROW,
    )
    assert codes(data) == {"payload_too_large": 2}
    done = again(data)

    assert (done.left, done.stored, done.refused) == (2, 2, {"out_of_range": 2})
    assert [(x.code, x.row, x.readings) for x in letters(data)] == [("out_of_range", 1, 1)] * 2
    assert [whole_payload(data, x) for x in letters(data)] == [as_json(reading(2, seq=-1))] * 2


def test_a_compressed_payload_that_cannot_be_read_keeps_its_encoding(data: DataDir) -> None:
    zipped = gzip.compress(b"{")
    take_in(data, message(zipped, content_encoding="gzip"))
    (letter,) = letters(data)

    assert whole_payload(data, letter) == zipped
    assert letter.attributes["content_encoding"] == "gzip"
    assert again(data).refused == {"invalid_json": 1}


def test_only_the_chosen_letters_are_replayed(data: DataDir) -> None:
    take_in(
        data,
        message(as_json(reading(1, event_ts=AHEAD), reading(2, event_ts=AHEAD, meter_id="m2"))),
        message(b"{", identity="b"),
    )
    broken, one, two = letters(data)
    assert again(data, Choice(codes=frozenset(["invalid_json"]))).letters == 1
    assert again(data, Choice(meters=frozenset(["m2"]))).stored == 1
    assert again(data, Choice(ids=frozenset([two.dead_letter_id]))).letters == 0
    assert again(data, Choice(since=NOW + timedelta(seconds=1))).letters == 0
    assert again(data, Choice(until=NOW)).letters == 0
    assert again(data, Choice(ids=frozenset([one.dead_letter_id, broken.dead_letter_id]))).left == 1
    assert seqs(data) == [1, 2]


def test_a_dry_run_says_what_would_be_and_writes_nothing(data: DataDir) -> None:
    take_in(data, message(as_json(reading(1, event_ts=AHEAD), reading(2, seq=-1))))
    done = again(data, dry_run=True)

    assert (done.left, done.stored, done.refused) == (1, 1, {"out_of_range": 1})
    assert (seqs(data), len(dead_letters(data)), replayed_letters(data)) == ([], 2, [])
    assert not data.deadletter_replaying.exists()


def test_two_replays_at_once_are_refused(data: DataDir) -> None:
    with locked(data.run / "deadletter.lock"), pytest.raises(LockHeldError, match="already"):
        again(data)


def test_killed_at_any_change_of_the_disk_nothing_is_lost_or_doubled(tmp_path: Any) -> None:
    step = 0
    while True:
        data = DataDir(tmp_path / str(step))
        payload = as_json(reading(4), reading(5, seq=-1), reading(6, event_ts=AHEAD))
        take_in(data, message(payload, identity="b"), bounds=NARROW, name="seg0")
        take_in(data, message(as_json(reading(1), reading(2, event_ts=AHEAD))))
        with killed_at(step) as done, suppress(Killed, RuntimeError):
            again(data)
        finished = len(done) < step
        # What counts, in archive and dead letter: every reading in one of the two.
        held = [seq for _, seq in archived_texts(data)]
        if codes(data)["payload_too_large"]:
            assert (held, codes(data)["timestamp_in_future"]) == ([1], 1), step
        else:
            assert (held, codes(data)) == ([1, 2, 4, 6], {"out_of_range": 1}), step
        again(data, now=LATER + timedelta(minutes=1))
        assert [seq for _, seq in archived_texts(data)] == [1, 2, 4, 6], step
        assert seqs(data) == [1, 2, 4, 6], step
        assert codes(data) == {"out_of_range": 1}, step
        assert list(data.deadletter_replaying.iterdir()) == []
        if finished:
            break
        step += 1
    assert step > 8


def test_many_refused_neighbours_share_a_letter(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate_module, "MOST_LETTERS", 3)
    bad = [reading(i, seq=-i) for i in (1, 2)]
    future = [reading(i, event_ts=AHEAD) for i in (3, 4)]
    take_in(
        data,
        message(as_json(*bad, reading(9), *future, {"x": 1}), identity="a", gateway_id="g"),
        message(as_ndjson(*bad, *future), NDJSON, identity="b"),
        message(as_json(*bad), identity="c"),
    )
    found = {(x.message_id, x.row): x for x in letters(data)}

    assert {key: (x.readings, x.code) for key, x in found.items()} == {
        ("a", 0): (2, "out_of_range"),
        ("a", 3): (3, "timestamp_in_future"),
        ("b", 0): (4, "out_of_range"),
        ("c", 0): (1, "out_of_range"),
        ("c", 1): (1, "out_of_range"),
    }
    assert "2 timestamp_in_future, 1 missing_field" in found["a", 3].detail
    assert whole_payload(data, found["a", 3]) == as_json(*future, {"x": 1}).replace(b"}, {", b"},{")
    assert sorted(line["readings"][0]["seq"] for line in json_lines(data.archive)) == [9]

    done = again(data)
    assert (done.left, done.stored, done.refused) == (2, 4, {"missing_field": 1, "out_of_range": 6})
    assert seqs(data) == [3, 3, 4, 4, 9]
    assert {(x.message_id, x.row): x.readings for x in letters(data)} == {
        ("a", 0): 2,
        ("a", 5): 1,
        ("b", 0): 1,
        ("b", 1): 1,
        ("c", 0): 1,
        ("c", 1): 1,
    }


def test_a_payload_of_nothing_but_digits_does_not_swell(data: DataDir) -> None:
    payload = b"[" + b",".join([b"1"] * 20_000) + b"]"
    take_in(data, message(payload))
    size = sum(path.stat().st_size for path in data.deadletter.rglob("*") if path.is_file())

    assert size < 2 * len(payload)
    assert [(g["letters"], g["readings"]) for g in summary(letters(data))] == [(1, 20_000)]


def test_letters_replayed_as_of_arrival_have_the_same_ids(data: DataDir) -> None:
    take_in(data, message(as_json(reading(1), reading(2, seq=-1)), identity="a"), message(b"{"))
    other = DataDir(data.root / "other")
    messages = [message_of(data, letter, recorded_clock=True) for letter in letters(data)]
    take_in(other, *messages)

    assert [replace_unknown(x) for x in letters(other)] == [
        replace_unknown(x) for x in letters(data)
    ]


def replace_unknown(letter: Any) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in letter.__struct_fields__}


def test_a_damaged_segment_or_a_lost_payload_is_named(data: DataDir) -> None:
    take_in(data, message(b"{" + b"x" * 5000))
    (letter,) = letters(data)
    (data.deadletter_payloads / str(letter.payload_sha256)).unlink()
    with pytest.raises(LakeError, match=letter.dead_letter_id):
        again(data)
    (path,) = data.deadletter.glob("segments/*/*/*.jsonl")
    path.write_bytes(b"{}\n")
    with pytest.raises(LakeError, match=r"seg\.jsonl:1 .* or remove the line"):
        list(letters(data))
