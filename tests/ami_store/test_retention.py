"""Retention deletes whole days that have passed and nothing that somebody still needs."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import HOUR, stored_rows

from ami_contract.errors import LakeError, LockHeldError
from ami_contract.lake import DataDir, hour_folder, minute_folder
from ami_store.files import locked
from ami_store.lake import compact_hour, compaction_connection, land, read_hour, remove_replaced
from ami_store.quarantine import quarantined, set_aside_damaged
from ami_store.retention import Kept, Removed, apply_retention, first_kept
from ami_store.views import lake_files

NOW = datetime(2026, 3, 10, 2, 30, tzinfo=UTC)
TWO_DAYS = Kept(archive_days=2, dead_letter_days=2, quarantine_days=2, copies_days=2)


def write(path: Path, at: datetime, text: str = "x") -> Path:
    """A file that was written at a time, in folders nobody has touched since."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def archived(data: DataDir, at: datetime, written: datetime | None = None) -> Path:
    return write(data.archive_raw / minute_folder("p1", at) / "r1.jsonl", written or at)


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_oldest_day_that_is_kept_is_whole() -> None:
    assert first_kept(NOW, 2) == datetime(2026, 3, 8, tzinfo=UTC)
    assert first_kept(datetime(2026, 3, 10, tzinfo=UTC), 1) == datetime(2026, 3, 9, tzinfo=UTC)


def test_nothing_goes_by_default(data: DataDir) -> None:
    old = archived(data, NOW - timedelta(days=900))
    assert apply_retention(data, Kept(), now=NOW) == {}
    assert old.exists()


def test_days_of_the_archive_go_whole_and_their_folders_too(data: DataDir) -> None:
    gone = archived(data, datetime(2026, 3, 7, 23, 55, tzinfo=UTC))
    kept = archived(data, datetime(2026, 3, 8, 0, 0, tzinfo=UTC))

    removed = apply_retention(data, Kept(archive_days=2), now=NOW)

    assert removed == {"archive": Removed(1, 1)}
    assert not gone.exists()
    assert kept.exists()
    assert not (data.archive_raw / "pole_id=p1" / "dt=2026-03-07").exists()


def test_what_came_late_is_kept_as_long_as_all_else(data: DataDir) -> None:
    late = archived(data, datetime(2026, 1, 1, tzinfo=UTC), written=NOW - timedelta(hours=1))
    apply_retention(data, Kept(archive_days=2), now=NOW)
    assert late.exists()


def test_segments_of_a_round_that_was_cut_off_stay(data: DataDir) -> None:
    hour = datetime(2026, 3, 1, 5, tzinfo=UTC)
    folder = data.archive / "segments" / hour_folder(hour)
    planned, other = write(folder / "a.jsonl", hour), write(folder / "b.jsonl", hour)
    plan = {"inputs": [str(planned.relative_to(data.archive))]}
    write(data.archive_rounds / "round.json", hour, json.dumps(plan))

    apply_retention(data, Kept(archive_days=2), now=NOW)

    assert planned.exists()
    assert not other.exists()


def test_an_archive_that_is_being_read_is_left_for_the_next_night(data: DataDir) -> None:
    old = archived(data, datetime(2026, 3, 1, tzinfo=UTC))
    waited: list[float] = []
    with (
        locked(data.archive_lock, shared=True),
        pytest.raises(LockHeldError, match="next night"),
    ):
        apply_retention(data, Kept(archive_days=2), now=NOW, sleep=waited.append)
    assert old.exists()
    assert 50 < sum(waited) < 70


def test_a_reader_that_ends_is_waited_for(data: DataDir) -> None:
    old = archived(data, datetime(2026, 3, 1, tzinfo=UTC))
    done = threading.Event()
    started = threading.Event()

    def read() -> None:
        with locked(data.archive_lock, shared=True):
            started.set()
            done.wait(10)

    reader = threading.Thread(target=read)
    reader.start()
    started.wait(10)

    def sleep(_seconds: float) -> None:
        assert old.exists()
        done.set()
        reader.join(10)

    apply_retention(data, Kept(archive_days=2), now=NOW, sleep=sleep)
    assert not old.exists()


def letter(payload: str | None = None) -> str:
    name = payload * 64 if payload else None
    # As the ingest writes it, with a payload that quotes the key.
    line = {"dead_letter_id": "1", "payload": '{"payload_sha256":"' + "f" * 64 + '"}'}
    return json.dumps({**line, "payload_sha256": name}, separators=(",", ":")) + "\n"


def test_letters_go_and_payloads_that_no_letter_names_any_more(data: DataDir) -> None:
    old, new = datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 3, 9, 5, tzinfo=UTC)
    segments = data.deadletter / "segments"
    gone = write(segments / hour_folder(old) / "a.jsonl", old, letter("a") + letter("b"))
    kept = write(segments / hour_folder(new) / "b.jsonl", new, letter("b") + letter())
    for name in "abcf":
        write(data.deadletter_payloads / (name * 64), old, "12345")
    young = write(data.deadletter_payloads / ("d" * 64), new)

    removed = apply_retention(data, Kept(dead_letter_days=2), now=NOW)

    assert not gone.exists()
    assert kept.exists()
    assert left(data.deadletter_payloads) == {"b" * 64, young.name}
    assert removed["dead_letter"].files == 4


def test_letters_of_a_replay_in_hand_stay(data: DataDir) -> None:
    old = datetime(2026, 3, 1, 5, tzinfo=UTC)
    segment = write(data.deadletter / "segments" / hour_folder(old) / "r1.jsonl", old, letter())
    write(data.deadletter_replaying / "r1.json", old, "{}")
    apply_retention(data, Kept(dead_letter_days=2), now=NOW)
    assert segment.exists()


def test_folders_of_letters_go_once_nobody_has_touched_them(data: DataDir) -> None:
    old = datetime(2026, 3, 1, 5, tzinfo=UTC)
    segment = write(data.deadletter / "segments" / hour_folder(old) / "a.jsonl", old, letter())
    apply_retention(data, Kept(dead_letter_days=2), now=NOW)
    assert segment.parent.exists()
    for folder in (segment.parent, segment.parent.parent):
        os.utime(folder, (old.timestamp(), old.timestamp()))
    apply_retention(data, Kept(dead_letter_days=2), now=NOW)
    assert not segment.parent.exists()


@pytest.mark.parametrize(("days", "stays"), [(2, False), (9, True)])
def test_damaged_files_go_by_when_they_were_set_aside(
    days: int, stays: bool, data: DataDir
) -> None:
    path = land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    path.write_bytes(b"no parquet")
    set_aside_damaged(data, HOUR, now=NOW - timedelta(days=5))
    apply_retention(data, Kept(quarantine_days=days), now=NOW)
    assert bool(list(quarantined(data))) is stays
    assert bool(left(data.quarantine)) is stays


def test_a_reason_that_a_killed_process_left_goes_too(data: DataDir) -> None:
    reason = data.quarantine / hour_folder(HOUR) / "a.r1.parquet.json"
    write(reason, NOW - timedelta(days=5), "{}")
    apply_retention(data, Kept(quarantine_days=2), now=NOW)
    assert not reason.exists()


def lake_with_copies(data: DataDir) -> None:
    for segment in ("a", "b"):
        land(data, HOUR, segment, stored_rows(HOUR, [240.0, 241.0]))
    with compaction_connection() as con:
        compact_hour(data, HOUR, now=HOUR + timedelta(hours=1), con=con)


def test_copies_leave_the_hour_without_touching_its_readings(data: DataDir) -> None:
    lake_with_copies(data)
    before = read_hour(data, HOUR)
    assert before.manifest.copy_rows == 2
    compacted, others = lake_files(data)

    removed = apply_retention(data, TWO_DAYS, now=NOW)

    after = read_hour(data, HOUR)
    assert removed["copies"].files == 1
    assert after.manifest.copies == []
    # Nothing is built anew: what builds and sensors look at is as it was.
    assert (after.version, after.digest, after.is_compacted) == (
        before.version,
        before.digest,
        True,
    )
    assert after.manifest.committed_at == before.manifest.committed_at
    assert after.stored_rows == 2
    # A reader that has listed the files still finds them for the grace time.
    grace = timedelta(minutes=15)
    remove_replaced(data, HOUR, now=NOW + timedelta(minutes=14), grace=grace)
    (copies,) = [path for path in others if path.name.startswith("copies-")]
    assert pq.read_table(copies).num_rows == 2
    remove_replaced(data, HOUR, now=NOW + timedelta(minutes=15), grace=grace)
    assert not copies.exists()
    assert pq.read_table(compacted[0]).num_rows == 2
    assert apply_retention(data, TWO_DAYS, now=NOW)["copies"] == Removed()


def test_copies_of_days_that_are_kept_stay(data: DataDir) -> None:
    lake_with_copies(data)
    assert apply_retention(data, Kept(copies_days=9), now=NOW)["copies"] == Removed()
    assert read_hour(data, HOUR).manifest.copy_rows == 2


def test_readings_and_landed_files_never_go(data: DataDir) -> None:
    lake_with_copies(data)
    land(data, HOUR, "c", stored_rows(HOUR, [200.0]))
    apply_retention(data, TWO_DAYS, now=NOW + timedelta(days=3650))
    hour = read_hour(data, HOUR)
    assert hour.manifest.rows == 2
    assert len(hour.pending) == 1


def test_a_second_night_finds_what_a_killed_one_left(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in (0, 5, 10):
        archived(data, datetime(2026, 3, 1, 4, minute, tzinfo=UTC))
    unlink = Path.unlink
    calls: list[Path] = []

    def killed(self: Path, missing_ok: bool = False) -> None:
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        apply_retention(data, Kept(archive_days=2), now=NOW)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert len(left(data.archive_raw)) == 2
    assert apply_retention(data, Kept(archive_days=2), now=NOW)["archive"].files == 2
    assert left(data.archive_raw) == set()


def test_a_folder_that_is_no_day_is_named(data: DataDir) -> None:
    (data.archive_raw / "pole_id=p1" / "dt=someday").mkdir(parents=True)
    with pytest.raises(LakeError, match="dt=someday is no day of this lake"):
        apply_retention(data, Kept(archive_days=2), now=NOW)
