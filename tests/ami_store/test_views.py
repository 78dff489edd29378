"""The views of the lake name exactly what is committed and pending, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from store_helpers import HOUR, NEXT_HOUR, bag, compact, land_rows, raw_bag, read_view, row

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, hour_folder
from ami_contract.reading import ROW_SCHEMA
from ami_contract.registry import REGISTRY_SCHEMA
from ami_contract.render import COMPACTED_FIELDS
from ami_store.lake import MANIFEST, landed_name
from ami_store.sql import file_list, text_literal
from ami_store.views import create_lake_views, lake_views


def named_files(data: DataDir, view: str) -> set[str]:
    return {Path(name).name for name in re.findall(r"'([^']+\.parquet)'", lake_views(data)[view])}


def test_an_empty_lake_has_both_views_with_their_columns(data: DataDir) -> None:
    with duckdb.connect() as con:
        create_lake_views(con, data)
        raw = con.execute("SELECT * FROM lake.raw_meter_readings")
        assert [c[0] for c in raw.description] == ROW_SCHEMA.names
        assert raw.fetchall() == []
        compacted = con.execute("SELECT * FROM lake.compacted_readings")
        assert [c[0] for c in compacted.description] == [f.name for f in COMPACTED_FIELDS]
        assert con.execute("SELECT count(*) FROM lake.meters").fetchone() == (0,)
        assert con.execute("SELECT listed_at <= now() FROM lake.listing").fetchone() == (True,)


def test_views_name_committed_and_pending_files_and_no_others(data: DataDir) -> None:
    land_rows(data, "merged", [row(1), row(1)])
    compact(data)
    land_rows(data, "pending", [row(2)])
    land_rows(data, "other", [row(1, hour=NEXT_HOUR)], hour=NEXT_HOUR)
    folder = data.readings / hour_folder(HOUR)
    (folder / "readings-orphan.parquet").write_bytes(b"of a killed compaction")
    (folder / ".writing-x-readings-y.parquet").write_bytes(b"half")
    (data.landing / hour_folder(HOUR) / ".writing-z-seg.r1.parquet").write_bytes(b"half")

    digest = next(p.stem.removeprefix("copies-") for p in folder.glob("copies-*"))
    assert named_files(data, "compacted_readings") == {f"readings-{digest}.parquet"}
    assert named_files(data, "raw_meter_readings") == {
        f"readings-{digest}.parquet",
        f"copies-{digest}.parquet",
        landed_name("pending", 1),
        landed_name("other", 1),
    }
    assert raw_bag(data) == bag([row(1), row(1), row(2), row(1, hour=NEXT_HOUR)])
    assert bag(read_view(data, "compacted_readings")) == bag([row(1)])


def test_a_view_keeps_showing_the_state_in_which_it_was_made(data: DataDir) -> None:
    land_rows(data, "a", [row(1), row(2)])
    with duckdb.connect() as con:
        create_lake_views(con, data)
        land_rows(data, "b", [row(3)])
        compact(data)
        seen = con.execute("SELECT seq FROM lake.raw_meter_readings ORDER BY seq").fetchall()

    assert seen == [(1,), (2,)]


def test_paths_with_quotes_and_spaces_are_read(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "it's a 'lake'")
    land_rows(data, "a", [row(1)])

    assert raw_bag(data) == bag([row(1)])


def test_literals_survive_a_round_trip_through_duckdb() -> None:
    text = "a'b''c\\ \"d\" ; DROP"
    with duckdb.connect() as con:
        assert con.execute(f"SELECT {text_literal(text)}").fetchone() == (text,)
        assert con.execute(f"SELECT {file_list([Path('x'), Path(text)])}").fetchone() == (
            ["x", text],
        )


def test_a_damaged_manifest_stops_the_views_by_name(data: DataDir) -> None:
    land_rows(data, "a", [row(1)])
    compact(data)
    (data.readings / hour_folder(HOUR) / MANIFEST).write_text("{")

    with pytest.raises(LakeError, match=r"manifest\.json is damaged"):
        lake_views(data)


def test_opening_the_lake_does_not_import_pandas(tmp_path: Path) -> None:
    # Half a second of every start of dbt.
    registry = DataDir(tmp_path).registry
    registry.parent.mkdir()
    registry.write_text(
        ",".join(REGISTRY_SCHEMA.names)
        + "\nm1,p1,t1,f1,240,1000,25,48.1,11.5,Europe/Berlin,2026-01-01T00:00:00Z,\n"
    )
    script = (
        "import sys, duckdb; from pathlib import Path; from ami_contract.lake import DataDir; "
        "from ami_store.views import create_lake_views; "
        "create_lake_views(duckdb.connect(), DataDir(Path(sys.argv[1]))); "
        "print('pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
