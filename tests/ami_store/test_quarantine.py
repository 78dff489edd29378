"""Damaged landed files go aside with their reason; the rest of the hour stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import HOUR, stored_rows

from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, land, read_hour
from ami_store.quarantine import clear_quarantine, damage, quarantined, set_aside_damaged

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
