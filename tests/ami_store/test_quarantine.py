"""Damaged landed files go aside with their reason; the rest of the hour stays."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import HOUR, stored_rows

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, damage, land, read_hour
from ami_store.quarantine import clear_quarantine, quarantined, set_aside_damaged

NOW = datetime(2026, 3, 1, 16, tzinfo=UTC)


def spoil(path: Path, kind: str) -> None:
    """Damage a Parquet file as disks and people do."""
    content = path.read_bytes()
    spoiled = {
        "no parquet": b"no parquet",
        "empty": b"",
        "cut": content[: len(content) // 2],
        "a page overwritten": content[:40] + b"\xff" * 40 + content[80:],
    }
    path.write_bytes(spoiled[kind])


@pytest.mark.parametrize("kind", ["no parquet", "empty", "cut", "a page overwritten"])
def test_a_damaged_file_goes_aside_and_its_neighbours_are_compacted(
    data: DataDir, kind: str
) -> None:
    land(data, HOUR, "a", stored_rows(HOUR, [240.0, 241.0]))
    bad = land(data, HOUR, "b", stored_rows(HOUR, [230.0] * 3, meter_id="m2"))
    spoil(bad, kind)
    content = bad.read_bytes()
    [moved] = set_aside_damaged(data, HOUR, now=NOW)
    assert (moved.hour, moved.rows) == (HOUR, 3)
    assert moved.reason
    assert not bad.exists()
    assert moved.path.read_bytes() == content
    assert list(quarantined(data)) == [moved]
    with compaction_connection() as con:
        assert compact_hour(data, HOUR, now=NOW, con=con).manifest.rows == 2


def test_no_changed_bit_of_a_page_gets_into_the_compacted_hour(data: DataDir) -> None:
    """Most of them would be read as other numbers, without a word."""
    rows = stored_rows(HOUR, [240.0 + number / 7 for number in range(200)])
    path = land(data, HOUR, "a", rows)
    whole = path.read_bytes()
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rng = random.Random(4)
    for _ in range(25):
        changed = bytearray(whole)
        changed[rng.randrange(4, pages)] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with compaction_connection() as con:
            if damage(path):
                with pytest.raises(LakeError, match=r"a\.r200\.parquet: .*; `ami replay --from "):
                    compact_hour(data, HOUR, now=NOW, con=con)
            else:
                # A bit that says nothing, such as one of a page's own statistics.
                assert pq.read_table(path).equals(pq.read_table(pa.BufferReader(whole)))


def test_whole_files_stay_where_they_are(data: DataDir) -> None:
    path = land(data, HOUR, "a", stored_rows(HOUR, [240.0]))
    assert damage(path) == ""
    assert set_aside_damaged(data, HOUR, now=NOW) == []
    assert read_hour(data, HOUR).pending == [path]


def test_clearing_deletes_only_the_hours_named(data: DataDir) -> None:
    later = HOUR.replace(hour=HOUR.hour + 1)
    for start in (HOUR, later):
        spoil(land(data, start, "a", stored_rows(start, [240.0])), "cut")
        set_aside_damaged(data, start, now=NOW)
    assert clear_quarantine(data, [HOUR]) == 1
    assert [found.hour for found in quarantined(data)] == [later]
    assert len(list(data.quarantine.rglob("*.*"))) == 2


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"rows": 3}'])
def test_a_file_whose_reason_is_lost_is_listed_with_what_it_tells_itself(
    data: DataDir, content: bytes | None
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    spoil(land(data, HOUR, "a", stored_rows(HOUR, [240.0] * 3)), "cut")
    [moved] = set_aside_damaged(data, HOUR, now=NOW)
    reason = moved.path.with_name(moved.path.name + ".json")
    if content is None:
        reason.unlink()
    else:
        reason.write_bytes(content)
    [found] = quarantined(data)
    assert (found.path, found.hour, found.rows) == (moved.path, HOUR, 3)
    assert found.reason.startswith("unknown")
    assert before <= datetime.fromisoformat(found.at) <= datetime.now(UTC)
    assert found.remedy == moved.remedy
    assert clear_quarantine(data, [HOUR]) == 1
    assert list(quarantined(data)) == []
