"""How new the lake is: newest readings, and what waits for a snapshot."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import HOUR, stored_rows

from ami_contract.errors import TransportError
from ami_contract.lake import DataDir, hour_folder
from ami_store.backlog import Backlog, read_backlog, write_backlogs
from ami_store.lake import compact_hour, compaction_connection, land
from ami_store.recency import Heard, newest_readings, newest_refusal, waiting

NOW = HOUR + timedelta(minutes=30)
ONE_HOUR = timedelta(hours=1)


def arrive(path: Path, at: datetime) -> None:
    os.utime(path, (at.timestamp(), at.timestamp()))


def at(minute: float) -> datetime:
    return HOUR + timedelta(minutes=minute)


def test_the_newest_reading_of_each_meter_is_found_in_landed_and_compacted_files(
    data: DataDir,
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0] * 10, meter_id="m1", pole_id="p1"))
    land(data, HOUR, "b", stored_rows(at(5), [240.0] * 10, meter_id="m2", pole_id="p2"))
    with compaction_connection() as con:
        compact_hour(data, HOUR, now=NOW, con=con)
    land(data, HOUR, "c", stored_rows(at(6), [240.0] * 3, meter_id="m1", pole_id="p1"))
    found = newest_readings(data, HOUR - ONE_HOUR, NOW)
    assert found.meters == {
        "m1": Heard("p1", at(6) + timedelta(seconds=2)),
        "m2": Heard("p2", at(5) + timedelta(seconds=9)),
    }


def test_older_hours_are_read_until_every_expected_meter_is_found(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    before, long_before = HOUR - ONE_HOUR, HOUR - 2 * ONE_HOUR
    land(data, before, "a", stored_rows(before, [240.0], meter_id="m2"))
    land(data, long_before, "a", stored_rows(long_before, [240.0], meter_id="m3"))

    def heard(since: datetime, *expected: str) -> set[str]:
        return set(newest_readings(data, since, NOW, set(expected)).meters)

    assert heard(long_before, "m1") == {"m1"}
    assert heard(long_before, "m1", "m2") == {"m1", "m2"}
    assert heard(before, "m1", "m3") == {"m1", "m2"}
    assert heard(long_before) == {"m1", "m2", "m3"}


def test_a_damaged_file_is_named_and_the_others_are_read(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    torn = land(data, HOUR, "b", stored_rows(HOUR, [240.0], meter_id="m2"))
    torn.write_bytes(torn.read_bytes()[:100])
    found = newest_readings(data, HOUR, NOW)
    assert set(found.meters) == {"m1"}
    assert found.damaged == [torn]


def test_an_empty_lake_waits_for_nothing(data: DataDir) -> None:
    found = waiting(data, NOW, None)
    assert found.arrived_at is None
    assert found.uncompacted_since is None
    assert found.unpublished_since is None
    assert newest_readings(data, HOUR, NOW).meters == {}


def test_the_oldest_file_that_is_not_compacted_gives_the_wait(data: DataDir) -> None:
    arrive(land(data, HOUR, "a", stored_rows(HOUR, [240.0])), at(3))
    arrive(land(data, HOUR, "b", stored_rows(HOUR, [240.0], meter_id="m2")), at(9))
    found = waiting(data, NOW, None)
    assert found.uncompacted_since == at(3)
    assert found.unpublished_since == at(3)
    assert found.arrived_at == at(9)


def test_compacted_files_wait_for_a_snapshot_that_lists_the_lake_after_them(
    data: DataDir,
) -> None:
    arrive(land(data, HOUR, "a", stored_rows(HOUR, [240.0])), at(3))
    arrive(land(data, HOUR, "b", stored_rows(HOUR, [240.0], meter_id="m2")), at(9))
    with compaction_connection() as con:
        compact_hour(data, HOUR, now=at(10), con=con)
    assert waiting(data, NOW, None).uncompacted_since is None
    assert waiting(data, NOW, None).unpublished_since == at(3)
    assert waiting(data, NOW, at(5)).unpublished_since == at(9)
    assert waiting(data, NOW, at(11)).unpublished_since is None


def test_a_wait_begins_with_the_first_file_however_often_the_hour_is_compacted(
    data: DataDir,
) -> None:
    with compaction_connection() as con:
        for minute in (3, 9, 15):
            rows = stored_rows(at(minute), [240.0])
            arrive(land(data, HOUR, f"s{minute}", rows), at(minute))
            compact_hour(data, HOUR, now=at(minute + 1), con=con)
    assert waiting(data, NOW, at(2)).unpublished_since == at(3)


def test_the_newest_refusal_is_that_of_the_last_hour(data: DataDir) -> None:
    assert newest_refusal(data) is None
    for hour, minute in ((HOUR - ONE_HOUR, -20), (HOUR, 4), (HOUR, 2)):
        path = data.deadletter / "segments" / hour_folder(hour) / f"{minute}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
        arrive(path, at(minute))
    assert newest_refusal(data) == at(4)


def test_backlogs_come_back_as_they_were_written(data: DataDir) -> None:
    told = Backlog(NOW, messages=7, leased=2, oldest_age_s=12.5)
    assert read_backlog(data, "projects/p/subscriptions/s") is None
    write_backlogs(data, {"projects/p/subscriptions/s": told})
    assert read_backlog(data, "projects/p/subscriptions/s") == told
    assert read_backlog(data, "projects/p/subscriptions/other") is None


def test_the_oldest_message_ages_until_the_next_word(data: DataDir) -> None:
    later = NOW + timedelta(seconds=10)
    assert Backlog(NOW, 7, 2, 12.5).oldest_age(later) == timedelta(seconds=22.5)
    assert Backlog(NOW, 0, 0, 0.0).oldest_age(later) == timedelta()


@pytest.mark.parametrize("content", ["{", "[]", '{"s": {"at": "x"}}', '{"s": {"other": 1}}'])
def test_a_damaged_backlog_file_says_what_to_do(data: DataDir, content: str) -> None:
    data.pubsub_backlogs.parent.mkdir(parents=True)
    data.pubsub_backlogs.write_text(content)
    with pytest.raises(TransportError, match="delete it"):
        read_backlog(data, "s")


def test_times_are_utc(data: DataDir) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    assert newest_readings(data, HOUR, NOW).meters["m1"].event_ts.tzinfo is UTC
