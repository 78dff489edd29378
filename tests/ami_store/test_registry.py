"""The registry is the users' file: what they wrote stays, what they mistyped is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ami_contract.errors import LakeError
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.registry import merge_registry, read_registry, write_registry

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
    ],
)
def test_a_bad_value_is_shown_with_its_file(tmp_path: Path, line: str, shown: str) -> None:
    path = write(tmp_path / "meters.csv", line)

    with pytest.raises(LakeError) as caught:
        read_registry(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert shown in str(caught.value)


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
