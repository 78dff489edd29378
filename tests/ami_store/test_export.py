"""Exports hold the rows of their range, in one order, whole or not at all."""

from __future__ import annotations

import csv
import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from store_helpers import HOUR, NEXT_HOUR, build_warehouse, compact, land_rows, row

from ami_contract.errors import LakeError, SettingsError
from ami_contract.lake import DataDir
from ami_store.export import Exported, Order, export
from ami_store.warehouse import publish


@pytest.fixture
def lake(data: DataDir) -> DataDir:
    """Two meters on two poles over two hours, one reading twice; nothing published."""
    land_rows(data, "a", [row(2, quality_flags=["tamper", "estimated"]), row(1), row(1)])
    compact(data)
    land_rows(data, "b", [row(1, ingest_ts=HOUR + timedelta(hours=9), voltage_v=1.0)])
    later = {"hour": NEXT_HOUR, "meter": "m2", "pole_id": "p2"}
    land_rows(data, "c", [row(3, **later), row(4, **later)], hour=NEXT_HOUR)
    return data


def order(out: Path, **changes: Any) -> Order:
    return Order(**({"table": "readings", "form": "csv", "out": out} | changes))


def read(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return list(csv.DictReader(text.splitlines()))


def test_readings_come_once_in_the_order_of_time_with_units_in_their_names(
    lake: DataDir, tmp_path: Path
) -> None:
    out = tmp_path / "x" / "readings.csv"
    assert export(lake, order(out)) == Exported(4, 1, "event_ts")
    found = read(out)

    assert [(r["event_ts_utc"], r["meter_id"], r["voltage_v"]) for r in found] == [
        ("2026-03-01T14:00:01.000000Z", "m1", "240"),
        ("2026-03-01T14:00:02.000000Z", "m1", "240"),
        ("2026-03-01T15:00:03.000000Z", "m2", "240"),
        ("2026-03-01T15:00:04.000000Z", "m2", "240"),
    ]
    assert [r["quality_flags"] for r in found[:2]] == ["", "tamper|estimated"]
    assert found[0]["gateway_ingest_ts_utc"] == ""
    assert {"power_kw", "freq_hz", "ingest_ts_utc"} <= found[0].keys()


def test_bounds_poles_and_meters_choose(lake: DataDir, tmp_path: Path) -> None:
    out = tmp_path / "readings.csv"
    moment = HOUR + timedelta(seconds=2)
    for changes, seqs in [
        ({"start": moment}, ["2", "3", "4"]),
        ({"end": moment}, ["1"]),
        ({"poles": ("p2",)}, ["3", "4"]),
        ({"meters": ("m1", "m9")}, ["1", "2"]),
        ({"table": "raw_meter_readings", "end": moment}, ["1", "1", "1"]),
    ]:
        export(lake, order(out, **changes))
        assert [r["seq"] for r in read(out)] == seqs, changes


def test_parquet_keeps_the_types(lake: DataDir, tmp_path: Path) -> None:
    out = tmp_path / "readings.parquet"
    export(lake, order(out, form="parquet"))
    table = pq.read_table(out)

    assert table["event_ts_utc"][0].as_py() == HOUR + timedelta(seconds=1)
    assert table["quality_flags"].to_pylist()[1] == ["tamper", "estimated"]
    assert pq.read_metadata(out).row_group(0).column(0).compression == "ZSTD"


def test_the_same_rows_give_the_same_bytes_also_zipped(lake: DataDir, tmp_path: Path) -> None:
    for name in ("one.csv.gz", "two.csv.gz"):
        export(lake, order(tmp_path / name))

    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    assert len(read(tmp_path / "one.csv.gz")) == 4


@pytest.mark.parametrize(
    ("by", "names"),
    [("day", ["dt=2026-03-01"]), ("pole", ["pole_id=p1", "pole_id=p2"])],
)
def test_a_folder_has_a_file_per_day_or_pole(
    lake: DataDir, tmp_path: Path, by: str, names: list[str]
) -> None:
    out = tmp_path / "out"
    done = export(lake, order(out, by=by))

    assert (done.rows, done.files) == (4, len(names))
    assert sorted(p.name for p in out.iterdir()) == names
    assert sum(len(read(p)) for p in out.rglob("readings.csv")) == 4
    with pytest.raises(SettingsError, match="not empty"):
        export(lake, order(out, by=by))


def test_a_mart_of_the_published_warehouse_goes_by_its_own_time(
    lake: DataDir, tmp_path: Path
) -> None:
    build_warehouse(
        lake,
        [
            """
            CREATE TABLE pole_health_hourly AS
            SELECT 'p1' AS pole_id, TIMESTAMPTZ '2026-03-01 14:00+00' AS hour_ts, 1.5 AS energy_kwh
            """,
            "CREATE TABLE settings AS SELECT 1 AS n",
            "CREATE VIEW readings AS SELECT * FROM lake.compacted_readings",
        ],
    )
    publish(lake)
    out = tmp_path / "health.csv"
    done = export(lake, order(out, table="pole_health_hourly", start=HOUR, end=NEXT_HOUR))

    assert (done.time, read(out)) == (
        "hour_ts",
        [{"pole_id": "p1", "hour_ts_utc": "2026-03-01T14:00:00.000000Z", "energy_kwh": "1.5"}],
    )
    assert export(lake, order(out)).rows == 2  # as of the last build
    with pytest.raises(SettingsError, match="no column with a time"):
        export(lake, order(out, table="settings"))
    with pytest.raises(SettingsError, match="no column meter_id"):
        export(lake, order(out, table="pole_health_hourly", meters=("m1",)))


def test_what_cannot_be_exported_leaves_what_was_there(lake: DataDir, tmp_path: Path) -> None:
    out = tmp_path / "readings.csv"
    out.write_text("before")
    for changes, error, message in [
        ({"start": HOUR + timedelta(days=9)}, SettingsError, "no rows of that range"),
        ({"table": 'x" --'}, SettingsError, "no table"),
        ({"out": tmp_path / "a.parquet.gz", "form": "parquet"}, SettingsError, "leave out .gz"),
        ({"out": out / "below.csv"}, LakeError, "cannot write"),
        ({"out": out / "below", "by": "day"}, LakeError, "cannot write"),
    ]:
        with pytest.raises(error, match=message):
            export(
                lake,
                order(out, **{k: v for k, v in changes.items() if k != "out"})
                if "out" not in changes
                else order(**changes),
            )
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path != lake.root] == ["readings.csv"]
