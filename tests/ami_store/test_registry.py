"""The registry is the users' file: what they wrote stays, what they mistyped is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.ledger import balance
from ami_store.registry import merge_registry, read_registry, write_registry
from ami_store.views import create_lake_views

HEADER = ",".join(REGISTRY_SCHEMA.names)
EDITED = 'm1,"pole, old",t1,f1,240.0,1000,37.5,48.5,2.25,Europe/Paris,2026-01-01T00:00:00Z,'


def entry(meter_id: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(REGISTRY_SCHEMA.names)
    found |= {
        "meter_id": meter_id,
        "pole_id": "p1",
        "nominal_voltage_v": 240.0,
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return found | changes


def table(*entries: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(entries), REGISTRY_SCHEMA)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def test_an_absent_file_is_an_empty_registry(tmp_path: Path) -> None:
    found = read_registry(tmp_path / "meters.csv")

    assert found.num_rows == 0
    assert found.schema.equals(REGISTRY_SCHEMA)


def test_what_is_written_is_read_back_sorted(tmp_path: Path) -> None:
    path = tmp_path / "registry" / "meters.csv"
    moved = entry("m1", pole_id="p2", valid_from=datetime(2026, 2, 1, tzinfo=UTC))
    closed = entry("m1", valid_to=datetime(2026, 2, 1, tzinfo=UTC), rated_kva=25.0)
    write_registry(path, table(entry("m2"), moved, closed))

    assert read_registry(path).to_pylist() == [closed, moved, entry("m2")]


def test_merging_keeps_the_edits_of_users_and_adds_only_new_meters(tmp_path: Path) -> None:
    path = write(tmp_path / "meters.csv", EDITED)
    before = read_registry(path).to_pylist()
    added = merge_registry(path, table(entry("m1", rated_kva=1.0), entry("m2")))

    assert added == 1
    assert read_registry(path).to_pylist() == [*before, entry("m2")]
    assert before[0]["pole_id"] == "pole, old"
    assert before[0]["rated_kva"] == 37.5


def test_merging_nothing_new_does_not_touch_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "meters.csv", EDITED)
    content, inode = path.read_bytes(), path.stat().st_ino

    assert merge_registry(path, table(entry("m1"))) == 0
    assert (path.read_bytes(), path.stat().st_ino) == (content, inode)


def test_an_older_stretch_of_history_widens_the_service_of_a_known_meter(tmp_path: Path) -> None:
    path = write(tmp_path / "meters.csv", EDITED)
    older = datetime(2025, 6, 1, tzinfo=UTC)

    assert merge_registry(path, table(entry("m1", valid_from=older))) == 0
    (found,) = read_registry(path).to_pylist()
    assert (found["valid_from"], found["valid_to"], found["rated_kva"]) == (older, None, 37.5)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (EDITED.replace("37.5", "a lot"), "a lot"),
        (EDITED.replace("2026-01-01T00:00:00Z", "1st of May"), "1st of May"),
        (EDITED.replace(",1000,", ",1.5,"), "1.5"),
        (EDITED + ",,", "Expected 12 columns"),
        (EDITED.replace("240.0", ""), "line 2: nominal_voltage_v is empty"),
        (EDITED.replace("m1", ""), "line 2: meter_id is empty"),
        (EDITED.replace("Europe/Paris", "Paris"), "line 2: time_zone = Paris"),
        (EDITED.replace("240.0", "nan"), "line 2: nominal_voltage_v = nan: 1 … 1000 V"),
        (EDITED.replace("240.0", "inf"), "line 2: nominal_voltage_v = inf: 1 … 1000 V"),
        (EDITED.replace("240.0", "-inf"), "line 2: nominal_voltage_v = -inf: 1 … 1000 V"),
        (EDITED.replace("240.0", "1001"), "line 2: nominal_voltage_v = 1001.0: 1 … 1000 V"),
        (EDITED.replace(",1000,", ",0,"), "line 2: sample_interval_ms = 0: 1 … 8.64e+07 ms"),
        (EDITED.replace("37.5", "nan"), "line 2: rated_kva = nan: 0 … 1e+06 kVA"),
        (EDITED.replace("48.5", "-90.5"), "line 2: latitude = -90.5: -90 … 90 degree"),
        (EDITED + "2026-01-01T00:00:00Z", "line 2: valid_to is not after valid_from"),
    ],
)
def test_a_bad_value_is_shown_with_its_file(tmp_path: Path, line: str, shown: str) -> None:
    path = write(tmp_path / "meters.csv", line)

    with pytest.raises(LakeError) as caught:
        read_registry(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert shown in str(caught.value)


def test_the_line_of_a_bad_value_is_found_among_good_and_empty_ones(tmp_path: Path) -> None:
    empty = EDITED.replace("37.5", "")
    path = write(tmp_path / "meters.csv", EDITED, empty, EDITED.replace("37.5", "nan"), empty)

    with pytest.raises(LakeError, match="line 4: rated_kva = nan"):
        read_registry(path)


def test_values_on_their_bounds_and_empty_ones_are_taken(tmp_path: Path) -> None:
    highest = EDITED.replace("240.0,1000,37.5,48.5", "1000,86400000,1000000,90")
    lowest = EDITED.replace("240.0,1000,37.5,48.5,2.25,Europe/Paris", "1,1,0,-90,-180,")
    nothing = EDITED.replace("1000,37.5,48.5,2.25,Europe/Paris", ",,,,")
    path = write(tmp_path / "meters.csv", highest, lowest, nothing)

    rows = read_registry(path).to_pylist()
    assert [row["rated_kva"] for row in rows] == [1e6, 0.0, None]
    assert [row["sample_interval_ms"] for row in rows] == [86_400_000, 1, None]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "Empty CSV file"),
        ((HEADER + "\n" + EDITED.replace("m1", "m\xe9ter")).encode("latin-1"), "UTF8"),
        (HEADER.replace(",", ";").encode() + b"\nm1;p1\n", "meter_id"),
    ],
    ids=["nothing", "another encoding", "another separator"],
)
def test_a_file_that_is_no_csv_of_ours_is_refused(
    tmp_path: Path, content: bytes, shown: str
) -> None:
    path = tmp_path / "meters.csv"
    path.write_bytes(content)

    with pytest.raises(LakeError, match=shown):
        read_registry(path)


def test_a_header_alone_is_an_empty_registry(tmp_path: Path) -> None:
    assert read_registry(write(tmp_path / "meters.csv")).num_rows == 0


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    path.mkdir()

    with pytest.raises(LakeError, match=r"meters\.csv"):
        read_registry(path)


def test_a_bad_registry_is_not_overwritten_by_a_merge(tmp_path: Path) -> None:
    path = write(tmp_path / "meters.csv", EDITED.replace("37.5", "a lot"))
    before = path.read_bytes()

    with pytest.raises(LakeError, match="a lot"):
        merge_registry(path, table(entry("m2")))
    assert path.read_bytes() == before


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    path.write_text("meter_id,pole_id\nm1,p1\n")

    with pytest.raises(LakeError, match="transformer_id"):
        read_registry(path)


def test_gateways_that_merge_at_the_same_time_are_all_registered(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    names = [f"m{number}" for number in range(16)]
    with ThreadPoolExecutor(len(names)) as gateways:
        list(gateways.map(lambda name: merge_registry(path, table(entry(name))), names))

    assert set(read_registry(path)["meter_id"].to_pylist()) == set(names)


HOSTILE = ("x'; DROP TABLE meters; --", "\"; ATTACH '/etc/passwd'; --", "../../out", "=1+1", "$1")


def test_texts_of_the_registry_stay_texts_wherever_it_is_asked(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    entries = [
        entry(text, pole_id=text, feeder_id=text, transformer_id=text, time_zone="Europe/Paris")
        for text in HOSTILE
    ]
    write_registry(data.registry, table(*entries))
    with duckdb.connect() as con:
        create_lake_views(con, data)
        found = con.execute("SELECT meter_id, pole_id, feeder_id FROM lake.meters").fetchall()
    assert sorted(found) == sorted((text, text, text) for text in HOSTILE)
    assert balance(data).problems == []
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
