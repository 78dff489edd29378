"""Replay: the lake that archive and dead letter make is the one that they were taken from."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
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
    reading,
)
from test_layout import Killed, killed_at

from ami_contract.errors import LakeError, LockHeldError, SettingsError
from ami_contract.lake import DataDir, floor_hour, hour_of_folder
from ami_store.lake import (
    alone_in_lake,
    compact_hour,
    compaction_connection,
    hours,
    read_hour,
)
from ami_store.quarantine import quarantined, set_aside_damaged
from ami_store.views import lake_views
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.layout import Layout, lay_out
from beam_jobs.letters import Choice, letters, replay_letters
from beam_jobs.pipeline import Ingest
from beam_jobs.replay import Replay, Span, replay_in_place, replay_into

HOUR = floor_hour(NOW)
LATER = NOW + timedelta(hours=3)


def stream(seed: int, count: int = 60) -> list[Message]:
    """Messages of two poles over three hours: late, twice, damaged, of every form."""
    rng = random.Random(seed)
    found: list[Message] = []
    for i in range(count):
        second = -7200 + i * 170
        clock = NOW + timedelta(seconds=second)
        readings = []
        for j in range(rng.randint(1, 5)):
            lag = rng.choice([1, 2, 61, 4000])
            moment = (clock - timedelta(seconds=lag)).isoformat()
            readings.append(
                reading(
                    event_ts=moment,
                    seq=-1 if rng.random() < 0.1 else i * 10 + j,
                    pole_id=rng.choice(["p1", ".."]),
                    voltage_v=round(rng.uniform(200, 250), 2),
                )
            )
        form = rng.choice(["json", "ndjson", "arrow", "gzip", "bad", "ahead"])
        if form == "ahead":
            readings[0]["event_ts"] = (clock + timedelta(minutes=9)).isoformat()
        attributes = {"batch_id": f"b{i}", "gateway_id": "g", "content_type": "application/json"}
        payload = as_json(*readings)
        if form == "ndjson":
            attributes["content_type"], payload = NDJSON, as_ndjson(*readings)
        elif form == "arrow":
            attributes["content_type"], payload = ARROW, as_arrow(arrow_table(*readings))
        elif form == "gzip":
            attributes["content_encoding"], payload = "gzip", gzip.compress(payload)
        elif form == "bad":
            payload = payload[:-9]
        message = Message(f"id-{i}", clock, attributes, payload, clock)
        found += [message] * (2 if rng.random() < 0.1 else 1)
    return found


def take_in(data: DataDir, messages: list[Message], *, per_batch: int = 7) -> None:
    graph = BoundedGraph(Ingest(data.root, BOUNDS))
    batches = []
    for start in range(0, len(messages), per_batch):
        part = messages[start : start + per_batch]
        clock = part[-1].publish_time
        batches.append(
            MessageBatch(
                f"{clock:%Y%m%dT%H%M%S}-{part[0].message_id}",
                clock,
                # A batch has one clock, as at the ingest.
                [m._replace(ingest_ts=None) for m in part],
            )
        )
    graph.run(batches)


@pytest.fixture
def filled(data: DataDir) -> DataDir:
    """A lake, half of whose archive is laid out and some of whose hours are compacted."""
    messages = stream(1)
    take_in(data, messages[:40])
    lay_out(data, Layout(5, gzip=True), now=NOW, everything=True)
    with compaction_connection() as con:
        compact_hour(data, HOUR - timedelta(hours=2), now=NOW, con=con)
    take_in(data, messages[40:])
    return data


def rows(data: DataDir) -> Counter[str]:
    """All stored rows, whatever their order."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        body = lake_views(data)["raw_meter_readings"]
        return Counter(str(row) for row in con.execute(body).fetchall())


def refused(data: DataDir) -> Counter[tuple[Any, ...]]:
    return Counter((x.dead_letter_id, x.code, x.row, x.ingest_ts, x.payload) for x in letters(data))


def into(data: DataDir, target: Path, span: Span | None = None, **options: Any) -> Replay:
    return replay_into(data, target, span or Span(), bounds=BOUNDS, **options)


def in_place(data: DataDir, span: Span | None = None, **options: Any) -> Replay:
    options = {"now": LATER, "bounds": BOUNDS} | options
    return replay_in_place(data, span or Span(), **options)


def test_a_new_folder_holds_the_same_rows_and_letters_with_their_first_clock(
    filled: DataDir, tmp_path: Path
) -> None:
    filled.registry.parent.mkdir()
    filled.registry.write_text("meter_id\n")
    done = into(filled, tmp_path / "new", batch_bytes=2000)
    new = DataDir(tmp_path / "new")

    assert rows(new) == rows(filled)
    assert rows(new).total() == done.stored > 80
    assert refused(new) == refused(filled)
    assert len(refused(new)) > 5
    assert new.registry.read_text() == "meter_id\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_archive_of_a_new_folder_can_be_replayed_itself(
    filled: DataDir, tmp_path: Path
) -> None:
    into(filled, tmp_path / "one")
    lay_out(DataDir(tmp_path / "one"), Layout(1), now=LATER, everything=True)
    into(DataDir(tmp_path / "one"), tmp_path / "two")

    assert rows(DataDir(tmp_path / "two")) == rows(filled)
    assert refused(DataDir(tmp_path / "two")) == refused(filled)


def test_a_range_takes_whole_hours_of_event_ts_whatever_the_arrival(
    filled: DataDir, tmp_path: Path
) -> None:
    span = Span.outward(HOUR - timedelta(minutes=50), HOUR - timedelta(minutes=20))
    assert span == Span(HOUR - timedelta(hours=1), HOUR)
    into(filled, tmp_path / "new", span)
    new = DataDir(tmp_path / "new")

    assert [hour.start for hour in hours(new)] == [HOUR - timedelta(hours=1)]
    wanted = read_hour(filled, HOUR - timedelta(hours=1)).stored_rows
    assert read_hour(new, HOUR - timedelta(hours=1)).stored_rows == wanted > 10


def test_wrong_ranges_and_folders_are_refused_and_leave_nothing(
    filled: DataDir, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="not after"):
        Span.outward(NOW, NOW)
    with pytest.raises(LakeError, match="hold nothing of"):
        into(filled, tmp_path / "new", Span(HOUR - timedelta(days=9), HOUR - timedelta(days=8)))
    with pytest.raises(LakeError, match="holds no archive"):
        into(DataDir(tmp_path / "nothing"), tmp_path / "new")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    with pytest.raises(SettingsError, match="not empty"):
        into(filled, tmp_path / "used")
    assert not (tmp_path / "new").exists()


def test_a_replay_in_place_of_a_sound_lake_changes_nothing(filled: DataDir) -> None:
    before = {p: p.stat().st_mtime_ns for p in filled.root.rglob("*.parquet")}
    done = in_place(filled)

    assert (done.restored, done.unchanged) == ([], len(list(hours(filled))))
    assert {p: p.stat().st_mtime_ns for p in filled.root.rglob("*.parquet")} == before
    assert not (filled.run / "replay").exists()


def damage(data: DataDir) -> Counter[str]:
    """Delete a landed file, spoil a compacted one, double another; gives the rows before."""
    before = rows(data)
    landed = [path for hour in hours(data) for path in hour.pending]
    landed[0].unlink()
    doubled = landed[-1]
    doubled.with_name("twice" + doubled.name[5:]).write_bytes(doubled.read_bytes())
    (compacted,) = data.readings.rglob("readings-*.parquet")
    compacted.write_bytes(b"spoiled")
    return before


def test_a_damaged_lake_is_repaired_and_the_second_replay_changes_nothing(
    filled: DataDir,
) -> None:
    before = damage(filled)
    done = in_place(filled)

    assert rows(filled) == before
    assert len(done.restored) >= 2
    assert in_place(filled).restored == []
    assert rows(filled) == before


def test_readings_of_quarantined_files_are_stored_again_and_the_quarantine_is_cleared(
    filled: DataDir,
) -> None:
    before = rows(filled)
    landed = next(path for hour in hours(filled) for path in hour.pending)
    landed.write_bytes(b"no parquet")
    [aside] = set_aside_damaged(filled, hour_of_folder(landed.parent), now=LATER)
    assert rows(filled) != before
    in_place(filled)
    assert rows(filled) == before
    assert not aside.path.exists()
    assert not list(quarantined(filled))


def test_what_lands_while_hours_are_rebuilt_stays_and_is_not_doubled(filled: DataDir) -> None:
    before = damage(filled)
    fresh = stream(2, 49)[-8:]
    landed = []

    def meanwhile(_done: Replay) -> None:
        if not landed:
            landed.append(True)
            take_in(filled, fresh, per_batch=8)

    in_place(filled, report=meanwhile)
    other = DataDir(filled.root / "other")
    take_in(other, fresh, per_batch=8)
    assert rows(filled) == before + rows(other)
    in_place(filled)
    assert rows(filled) == before + rows(other)


def test_the_next_compaction_goes_on_from_a_replay(filled: DataDir) -> None:
    before = damage(filled)
    in_place(filled)
    with compaction_connection() as con:
        for hour in list(hours(filled)):
            assert not compact_hour(filled, hour.start, now=LATER, con=con).pending
    assert rows(filled) == before


def test_rows_that_the_archive_does_not_have_are_never_lost(filled: DataDir) -> None:
    lost = damage(filled)
    for path in filled.archive.rglob("*.jsonl*"):
        path.unlink()
        break
    before = rows_of_landing(filled)
    with pytest.raises(LakeError, match="are not in the archive"):
        in_place(filled)

    assert rows_of_landing(filled) == before
    assert lost


def rows_of_landing(data: DataDir) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in data.root.rglob("*.parquet")}


def test_an_archived_reading_that_is_refused_by_now_stops_a_replay_in_place(
    filled: DataDir, tmp_path: Path
) -> None:
    (path, *_) = (p for p in filled.archive.rglob("segments/**/*.jsonl") if b"p1" in p.read_bytes())
    line = orjson.loads(path.read_bytes().splitlines()[0])
    line["readings"][0]["voltage_v"] = 5000
    path.write_bytes(
        orjson.dumps(line) + b"\n" + b"".join(path.read_bytes().splitlines(keepends=True)[1:])
    )
    with pytest.raises(LakeError, match="1 out_of_range"):
        in_place(filled)
    assert into(filled, tmp_path / "new").refused["out_of_range"] > 0


def test_letters_that_pass_by_their_first_clock_come_back_in_place(data: DataDir) -> None:
    narrow = PayloadBounds(20, 20)
    batch = MessageBatch("a", NOW, [Message("1", NOW, {}, as_json(reading(1)))])
    BoundedGraph(Ingest(data.root, narrow)).run([batch])
    assert rows(data).total() == 0
    in_place(data)

    assert (rows(data).total(), refused(data)) == (1, Counter())
    assert in_place(data).restored == []
    assert rows(data).total() == 1


def test_letters_replayed_before_are_in_a_new_folder_once(data: DataDir, tmp_path: Path) -> None:
    ahead = (NOW + timedelta(minutes=9)).isoformat()
    payload = as_json(reading(1, event_ts=ahead), reading(2, seq=-1), reading(3))
    batch = MessageBatch("a", NOW, [Message("1", NOW, {}, payload)])
    BoundedGraph(Ingest(data.root, BOUNDS)).run([batch])
    replay_letters(data, Choice(), now=LATER, bounds=BOUNDS)
    into(data, tmp_path / "new")

    assert rows(DataDir(tmp_path / "new")) == rows(data)
    assert rows(data).total() == 2
    assert refused(DataDir(tmp_path / "new")) == refused(data)


def test_killed_at_any_change_of_the_disk_a_replay_in_place_ends_the_same(
    tmp_path: Path,
) -> None:
    step = 0
    while True:
        data = DataDir(tmp_path / str(step))
        take_in(data, stream(3, 12))
        landed = sorted(data.landing.rglob("*.parquet"))
        before = rows(data)
        landed[0].unlink()
        landed[-1].unlink()
        short = rows(data)
        with killed_at(step) as done, suppress(Killed, RuntimeError):
            in_place(data)
        finished = len(done) < step
        found = rows(data)
        assert short <= found <= before, step
        in_place(data)
        assert rows(data) == before, step
        if finished:
            break
        step += 3
    assert step > 6


def test_a_replay_waits_for_no_build_and_a_second_one_is_refused(filled: DataDir) -> None:
    with alone_in_lake(filled), pytest.raises(LockHeldError, match="compacted"):
        in_place(filled)
