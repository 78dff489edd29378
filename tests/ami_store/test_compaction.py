"""Compaction keeps one copy of every reading, the others beside it, and loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections import defaultdict
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import (
    HOUR,
    INGESTED,
    MEASURED,
    NEXT_HOUR,
    NOW,
    Row,
    bag,
    committed,
    compact,
    hour_files,
    land_rows,
    raw_bag,
    read_view,
    row,
)

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, hour_folder
from ami_contract.reading import ROW_SCHEMA
from ami_store import lake
from ami_store.lake import (
    MANIFEST,
    compact_hour,
    compaction_connection,
    hours,
    land,
    landed_rows,
    oldest_hour,
    read_hour,
    read_manifest,
)

ROOT = Path(__file__).resolve().parents[2]
SECOND = timedelta(seconds=1)


def kept(data: DataDir) -> list[Row]:
    return read_view(data, "compacted_readings")


def test_landing_writes_one_file_with_its_row_count_in_its_name(data: DataDir) -> None:
    path = land_rows(data, "seg-1", [row(1), row(2)])

    assert path == data.landing / "dt=2026-03-01/hr=14" / "seg-1.r2.parquet"
    assert landed_rows(path) == 2
    assert pq.read_schema(path).names == ROW_SCHEMA.names


def test_the_same_segment_landed_twice_is_one_file_that_is_not_touched(data: DataDir) -> None:
    path = land_rows(data, "seg-1", [row(1)])
    before = path.stat()
    land_rows(data, "seg-1", [row(1)])

    assert hour_files(data) == {"seg-1.r1.parquet"}
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_without_copies_all_readings_stay_sorted_by_meter_and_time(data: DataDir) -> None:
    rows = [row(3), row(1), row(2, meter="m0"), row(2)]
    land_rows(data, "a", rows)
    hour = compact(data)

    assert [(r["meter_id"], r["seq"]) for r in kept(data)] == [
        ("m0", 2),
        ("m1", 1),
        ("m1", 2),
        ("m1", 3),
    ]
    assert bag(kept(data)) == bag(rows)
    assert committed(data) == (4, 0, 0)
    assert hour.manifest.copies == []
    assert hour.manifest.min_event_ts == (HOUR + SECOND).isoformat()
    assert hour.manifest.max_event_ts == (HOUR + 3 * SECOND).isoformat()
    assert {(r["copies"], r["conflicting_copies"]) for r in kept(data)} == {(1, 0)}


def test_a_kept_reading_knows_its_flags_and_the_readings_beside_it(data: DataDir) -> None:
    flags: list[list[str] | None] = [["tamper", "last_gasp"], ["estimated"], None]
    rows = [row(n, quality_flags=f) for n, f in zip((1, 2, 7), flags, strict=True)]
    land_rows(data, "a", [*rows, rows[1], row(4, meter="m0", quality_flags=["missing_sample"])])
    compact(data)

    names = ("seq", "flag_text", "seq_step_before", "seq_step_after")
    assert [tuple(r[name] for name in names) for r in kept(data)] == [
        (4, "missing_sample", None, None),
        (1, "tamper,last_gasp", None, 1),
        (2, "estimated", 1, 5),
        (7, None, 5, None),
    ]


def test_half_a_million_readings_that_arrive_in_any_order_know_those_beside_them(
    data: DataDir,
) -> None:
    # Several row groups, threads and files, a tenth of the readings lost, some stored twice.
    rng = np.random.default_rng(4)
    meters, seconds = 150, 3600
    received = np.flatnonzero(rng.random(meters * seconds) > 0.1)
    stored = rng.permutation(np.concatenate([received, received[::97]]))
    for number, part in enumerate(np.array_split(stored, 5)):
        land(data, HOUR, f"part{number}", readings_at(part // seconds, part % seconds))

    compact(data)

    [path] = (data.readings / hour_folder(HOUR)).glob("readings-*")
    found = pq.read_table(path)
    meter, seq = received // seconds, received % seconds
    before = np.where(np.diff(meter, prepend=-1) == 0, np.diff(seq, prepend=0), -1)
    after = np.append(before[1:], -1)
    assert found["seq"].to_numpy().tolist() == seq.tolist()
    assert found["meter_id"].to_pylist() == [f"m{number:03}" for number in meter]
    assert found["seq_step_before"].fill_null(-1).to_numpy().tolist() == before.tolist()
    assert found["seq_step_after"].fill_null(-1).to_numpy().tolist() == after.tolist()
    assert sum(found["copies"].to_pylist()) == len(stored)
    # Readers of one meter skip row groups by the least and largest name in each.
    groups = pq.ParquetFile(path).metadata
    names = groups.schema.names.index("meter_id")
    first = 0
    for group in map(groups.row_group, range(groups.num_row_groups)):
        held = found["meter_id"].slice(first, group.num_rows)
        spans = group.column(names).statistics
        assert (spans.min, spans.max) == (held[0].as_py(), held[-1].as_py())
        first += group.num_rows


def readings_at(meters: np.ndarray, seconds: np.ndarray) -> pa.Table:
    """Stored rows of meters by number at seconds of the hour, which are their seq."""
    times = pa.array((HOUR.timestamp() + seconds) * 1e6).cast(pa.int64())
    columns = {name: pa.scalar(value) for name, value in row(0).items()}
    filled = {
        "event_ts": times.cast(pa.timestamp("us", tz="UTC")),
        "meter_id": pa.array([f"m{number:03}" for number in meters]),
        "seq": pa.array(seconds),
    }
    return pa.table(
        [
            filled.get(field.name, pa.repeat(columns[field.name], len(seconds))).cast(field.type)
            for field in ROW_SCHEMA
        ],
        schema=ROW_SCHEMA,
    )


def test_an_hour_of_an_older_layout_is_compacted_again(data: DataDir) -> None:
    land_rows(data, "a", [row(1), row(2), row(2)])
    compact(data)
    manifest = read_manifest(data.readings / hour_folder(HOUR))
    old = {**asdict(manifest), "readings": ["readings-old.parquet"]}
    del old["layout"]
    folder = data.readings / hour_folder(HOUR)
    (folder / manifest.readings[0]).rename(folder / "readings-old.parquet")
    (folder / MANIFEST).write_text(json.dumps(old))
    assert not read_hour(data, HOUR).is_compacted

    compact(data)

    found = read_manifest(folder)
    assert found.retired.keys() == {"a.r3.parquet", "readings-old.parquet"}
    assert replace(found, retired=manifest.retired) == manifest
    assert len(kept(data)) == 2


def test_the_copy_with_the_smallest_ingest_ts_stays(data: DataDir) -> None:
    first = row(1, ingest_ts=INGESTED, voltage_v=250.0, batch_id="early")
    second = row(1, ingest_ts=INGESTED + SECOND, voltage_v=250.0, batch_id="late")
    land_rows(data, "a", [second])
    land_rows(data, "b", [first])
    compact(data)

    assert bag(kept(data)) == bag([first])
    assert [(r["copies"], r["conflicting_copies"]) for r in kept(data)] == [(2, 0)]
    assert committed(data) == (1, 1, 0)
    assert raw_bag(data) == bag([first, second])


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({"voltage_v": 239.0, "current_a": 9.0}, {"voltage_v": 240.0, "current_a": 1.0}),
        ({"freq_hz": 49.9}, {"freq_hz": 50.0}),
        ({"reactive_kvar": 0.5}, {"reactive_kvar": None}),
        ({"quality_flags": []}, {"quality_flags": ["estimated"]}),
        ({"quality_flags": ["estimated"]}, {"quality_flags": ["tamper"]}),
    ],
)
def test_of_copies_of_one_instant_the_smallest_values_stay_nulls_last(
    data: DataDir, low: Row, high: Row
) -> None:
    land_rows(data, "a", [row(1, **high), row(1, **low)])
    compact(data)

    assert bag(kept(data)) == bag([row(1, **low)])
    assert committed(data) == (1, 1, 1)


def test_conflicts_count_only_copies_whose_measured_values_differ(data: DataDir) -> None:
    land_rows(
        data,
        "a",
        [
            row(1, voltage_v=240.0),
            row(1, voltage_v=240.0, batch_id="b2", ingest_ts=INGESTED + SECOND),
            row(1, voltage_v=241.0, ingest_ts=INGESTED + SECOND),
            row(2, freq_hz=None),
            row(2, freq_hz=60.0, ingest_ts=INGESTED + SECOND),
            row(3),
        ],
    )
    compact(data)

    counts = {r["seq"]: (r["copies"], r["conflicting_copies"]) for r in kept(data)}
    assert counts == {1: (3, 1), 2: (2, 1), 3: (1, 0)}
    assert committed(data) == (3, 3, 2)


def test_another_time_or_meter_with_the_same_seq_is_another_reading(data: DataDir) -> None:
    moved = row(1) | {"event_ts": row(2)["event_ts"]}
    land_rows(data, "a", [row(1), moved, row(1, meter="m2")])
    compact(data)

    assert committed(data) == (3, 0, 0)


def test_compacting_again_changes_no_file(data: DataDir) -> None:
    land_rows(data, "a", [row(1), row(1, voltage_v=1.0)])
    compact(data)
    folder = data.readings / hour_folder(HOUR)
    before = {p.name: (p.stat().st_ino, p.read_bytes()) for p in folder.iterdir()}
    compact(data, now=NOW + SECOND)

    assert {p.name: (p.stat().st_ino, p.read_bytes()) for p in folder.iterdir()} == before


def test_an_hour_with_nothing_landed_gets_no_files(data: DataDir) -> None:
    assert compact(data).stored_rows == 0
    assert hour_files(data) == set()
    assert oldest_hour(data) is None


def test_a_late_file_is_merged_with_what_was_compacted_before(data: DataDir) -> None:
    on_time = [row(1, voltage_v=250.0), row(2), row(2, voltage_v=1.0)]
    late = [row(3), row(1, voltage_v=235.0, ingest_ts=INGESTED - SECOND), row(2, voltage_v=0.5)]
    land_rows(data, "a", on_time)
    first = compact(data)
    land_rows(data, "b", late)
    pending = read_hour(data, HOUR)
    second = compact(data)

    assert [path.name for path in pending.pending] == ["b.r3.parquet"]
    assert pending.stored_rows == 6
    assert pending.digest == second.digest != first.digest
    assert bag(kept(data)) == bag([late[1], late[2], late[0]])
    assert committed(data) == (3, 3, 3)
    assert raw_bag(data) == bag(on_time + late)
    assert second.manifest.merged == ["a.r3.parquet", "b.r3.parquet"]
    assert second.pending == []


def test_a_segment_that_lands_again_after_its_merge_counts_once(data: DataDir) -> None:
    path = land_rows(data, "a", [row(1)])
    compact(data)
    path.unlink()
    land_rows(data, "a", [row(1)])

    assert path.exists()
    assert read_hour(data, HOUR).pending == []
    assert raw_bag(data) == bag([row(1)])
    compact(data)
    assert committed(data) == (1, 0, 0)


def test_hours_are_listed_oldest_first_with_what_they_store(data: DataDir) -> None:
    land_rows(data, "a", [row(1, hour=NEXT_HOUR)], hour=NEXT_HOUR)
    land_rows(data, "a", [row(1), row(1)])
    compact(data)
    land_rows(data, "b", [row(2)])

    assert [(h.start, h.stored_rows, len(h.pending)) for h in hours(data)] == [
        (HOUR, 3, 1),
        (NEXT_HOUR, 1, 1),
    ]
    assert oldest_hour(data) == HOUR


def test_a_file_with_a_foreign_name_is_named(data: DataDir) -> None:
    path = land_rows(data, "a", [row(1)])
    path.rename(path.parent / "mine.parquet")

    with pytest.raises(LakeError, match=r"mine\.parquet is not a landed file"):
        _ = read_hour(data, HOUR).stored_rows


def test_a_damaged_landed_file_is_named_and_nothing_is_committed(data: DataDir) -> None:
    land_rows(data, "a", [row(1)])
    (data.landing / hour_folder(HOUR) / "b.r1.parquet").write_bytes(b"PAR1 cut off")

    with pytest.raises(LakeError, match=r"2026-03-01 14:00Z.*b\.r1\.parquet"):
        compact(data)
    assert not (data.readings / hour_folder(HOUR) / MANIFEST).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"surprise": 1}'])
def test_a_damaged_manifest_is_named(data: DataDir, content: bytes) -> None:
    land_rows(data, "a", [row(1)])
    compact(data)
    (data.readings / hour_folder(HOUR) / MANIFEST).write_bytes(content)

    with pytest.raises(LakeError, match=r"hr=14/manifest\.json is damaged"):
        read_hour(data, HOUR)


copies_of_readings = st.builds(
    lambda seq, meter, shift, late, **values: (
        row(seq, meter=meter, **values)
        | {"event_ts": HOUR + timedelta(seconds=seq + shift), "ingest_ts": INGESTED + late * SECOND}
    ),
    st.integers(0, 3),
    meter=st.sampled_from(["m1", "m2"]),
    shift=st.integers(0, 1),
    late=st.integers(0, 2),
    voltage_v=st.sampled_from([239.0, 240.0]),
    power_kw=st.sampled_from([-1.0, 0.0, 2.0]),
    freq_hz=st.sampled_from([None, 50.0, 60.0]),
    quality_flags=st.sampled_from([[], ["estimated"], ["estimated", "tamper"]]),
)


def reference(rows: list[Row]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Per reading: the kept copy's ingest_ts and values, copies, conflicting copies."""

    def order(r: Row) -> tuple[Any, ...]:
        nulls_last = ((r[name] is None, r[name] or 0.0) for name in MEASURED[:-1])
        return (r["ingest_ts"], *nulls_last, r["quality_flags"])

    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for r in rows:
        groups[r["meter_id"], r["seq"], r["event_ts"]].append(r)
    found = {}
    for key, group in groups.items():
        first = min(group, key=order)
        values = [first[name] for name in MEASURED]
        differing = sum([r[name] for name in MEASURED] != values for r in group)
        found[key] = (first["ingest_ts"], values, len(group), differing)
    return found


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(copies_of_readings, min_size=1, max_size=8), max_size=4))
def test_compaction_in_any_order_of_arrival_equals_the_reference(
    batches: list[list[Row]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = DataDir(tmp_path_factory.mktemp("lake"))
    stored: list[Row] = []
    with compaction_connection() as con:
        for number, rows in enumerate(batches):
            land_rows(data, f"s{number}", rows)
            stored += rows
            if number % 2 == 0:
                compact_hour(data, HOUR, now=NOW, con=con)
                found = {
                    (r["meter_id"], r["seq"], r["event_ts"]): (
                        r["ingest_ts"],
                        [r[name] for name in MEASURED],
                        r["copies"],
                        r["conflicting_copies"],
                    )
                    for r in kept(data)
                }
                expected = reference(stored)
                assert found == expected
                assert committed(data) == (
                    len(expected),
                    len(stored) - len(expected),
                    sum(conflicts for *_, conflicts in expected.values()),
                )
            assert raw_bag(data) == bag(stored)


def test_texts_of_too_many_values_for_codes_give_the_same_files(
    data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        row(seq, meter=f"m{seq % 7}", batch_id=f"b{copy}", ingest_ts=INGESTED - copy * SECOND)
        for seq in range(50)
        for copy in range(1 + seq % 3)
    ]
    files = []
    for each, most in ((data, 100_000), (DataDir(tmp_path / "other"), 3)):
        monkeypatch.setattr(lake, "_MOST_CODES", most)
        land_rows(each, "a", rows)
        manifest = compact(each).manifest
        folder = each.readings / hour_folder(HOUR)
        names = manifest.readings + manifest.copies
        files.append([pq.read_table(folder / name).to_pylist() for name in names])

    assert len(files[0]) == 2
    assert files[0] == files[1]


KILLED = """
    import os
    from datetime import datetime
    from pathlib import Path
    from ami_contract.lake import DataDir
    from ami_store import lake
    from ami_store.files import atomic_path

    written = 0

    def killed(write):
        def wrapper(target, content):
            global written
            number, written = written, written + 1
            if number == {number} and {moment!r} == "half":
                with atomic_path(target) as temporary:
                    temporary.write_bytes(b"PAR1")
                    os._exit(9)
            if number == {number} and {moment!r} == "before":
                os._exit(9)
            write(target, content)
            if number == {number}:
                os._exit(9)
        return wrapper

    lake.write_with = killed(lake.write_with)
    lake.write_bytes = killed(lake.write_bytes)
    with lake.compaction_connection() as con:
        lake.compact_hour(
            DataDir(Path({root!r})),
            datetime.fromisoformat({hour!r}),
            now=datetime.fromisoformat({now!r}),
            con=con,
        )
"""


@pytest.mark.parametrize("moment", ["before", "half", "after"])
@pytest.mark.parametrize("number", [0, 1, 2], ids=["readings", "copies", "manifest"])
def test_killed_at_any_write_nothing_is_lost_or_twice_and_the_next_run_ends_alike(
    data: DataDir, tmp_path: Path, number: int, moment: str
) -> None:
    first = [row(1), row(1, voltage_v=1.0), row(2)]
    late = [row(2, voltage_v=2.0), row(3)]
    untouched = DataDir(tmp_path / "untouched")
    for each in (data, untouched):
        land_rows(each, "a", first)
        compact(each)
        land_rows(each, "b", late)
    compact(untouched)

    program = KILLED.format(
        number=number,
        moment=moment,
        root=str(data.root),
        hour=HOUR.isoformat(),
        now=NOW.isoformat(),
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, timeout=60, check=False
    )

    assert done.returncode == 9
    assert raw_bag(data) == bag(first + late)
    compact(data)
    assert raw_bag(data) == bag(first + late)
    assert bag(kept(data)) == bag(kept(untouched))
    assert committed(data) == committed(untouched) == (3, 2, 2)
    assert read_hour(data, HOUR).manifest == read_hour(untouched, HOUR).manifest


def test_equal_copies_of_one_batch_time_keep_the_smallest_batch_id(data: DataDir) -> None:
    land_rows(data, "a", [row(1, batch_id="b2"), row(1, batch_id="b1")])
    compact(data)
    assert [reading["batch_id"] for reading in kept(data)] == ["b1"]


def test_a_folder_that_is_no_hour_is_named(data: DataDir) -> None:
    (data.landing / "dt=foo" / "hr=01").mkdir(parents=True)
    with pytest.raises(LakeError, match=r"dt=foo/hr=01 is no hour of this lake"):
        list(hours(data))
