"""Rows, landed files and warehouses of a few lines for the tests of this folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from ami_contract.lake import DataDir, hour_folder
from ami_contract.reading import ROW_SCHEMA
from ami_store.lake import Hour, compact_hour, compaction_connection, land, read_hour
from ami_store.views import create_lake_views, lake_views

HOUR = datetime(2026, 3, 1, 14, tzinfo=UTC)
NEXT_HOUR = HOUR + timedelta(hours=1)
NOW = datetime(2026, 3, 1, 16, tzinfo=UTC)
INGESTED = HOUR + timedelta(minutes=59)
MEASURED = ("voltage_v", "current_a", "power_kw", "reactive_kvar", "freq_hz", "quality_flags")

Row = dict[str, Any]


def row(seq: int, *, meter: str = "m1", hour: datetime = HOUR, **changes: Any) -> Row:
    """A stored reading of the `seq`-th second of the hour."""
    event_ts = hour + timedelta(seconds=seq % 3600)
    found = {
        "event_ts": event_ts,
        "meter_id": meter,
        "pole_id": "p1",
        "seq": seq,
        "voltage_v": 240.0,
        "current_a": 5.0,
        "power_kw": 1.2,
        "reactive_kvar": None,
        "freq_hz": None,
        "quality_flags": [],
        "network_profile": "wired",
        "gateway_id": "g1",
        "gateway_ingest_ts": None,
        "batch_id": "b1",
        "ingest_ts": INGESTED,
        "event_date": event_ts.date(),
    }
    assert changes.keys() <= found.keys()
    return found | changes


def land_rows(data: DataDir, segment: str, rows: Iterable[Row], *, hour: datetime = HOUR) -> Path:
    return land(data, hour, segment, pa.Table.from_pylist(list(rows), ROW_SCHEMA))


def compact(data: DataDir, hour: datetime = HOUR, *, now: datetime = NOW) -> Hour:
    with compaction_connection() as con:
        return compact_hour(data, hour, now=now, con=con)


def read_view(data: DataDir, table: str) -> list[Row]:
    """Rows of a view of the lake as it stands now."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        return con.sql(lake_views(data)[table]).to_arrow_table().to_pylist()


def bag(rows: Iterable[Row]) -> Counter[str]:
    """Stored rows as a multiset, whatever their order."""
    return Counter(
        json.dumps({name: r[name] for name in ROW_SCHEMA.names}, default=str) for r in rows
    )


def raw_bag(data: DataDir) -> Counter[str]:
    return bag(read_view(data, "raw_meter_readings"))


def hour_files(data: DataDir, hour: datetime = HOUR) -> set[str]:
    """Names of all files of an hour, landing and compacted, temporary ones too."""
    folders = [data.landing / hour_folder(hour), data.readings / hour_folder(hour)]
    return {path.name for folder in folders if folder.exists() for path in folder.iterdir()}


def committed(data: DataDir, hour: datetime = HOUR) -> tuple[int, int, int]:
    """Readings, copies and conflicts of an hour's manifest."""
    manifest = read_hour(data, hour).manifest
    return manifest.rows, manifest.copy_rows, manifest.conflicts


def build_warehouse(data: DataDir, statements: Sequence[str] = ()) -> None:
    """What dbt does: open the warehouse, find the lake in it, write tables."""
    data.warehouse.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(data.warehouse)) as con:
        create_lake_views(con, data)
        for statement in statements:
            con.execute(statement)


def write_dead_letters(data: DataDir, letters: Iterable[Row], *, segment: str = "s1") -> None:
    folder = data.deadletter / "segments" / hour_folder(HOUR)
    folder.mkdir(parents=True, exist_ok=True)
    lines = b"".join(orjson.dumps(letter) + b"\n" for letter in letters)
    (folder / f"{segment}.jsonl").write_bytes(lines)
