"""The published warehouse: a snapshot that outlives the files it was made of, read and never
written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from store_helpers import HOUR, build_warehouse, compact, hour_files, land_rows, row

from ami_contract.errors import WarehouseError
from ami_contract.lake import DataDir, hour_folder
from ami_store.lake import landed_name, read_hour, remove_replaced
from ami_store.warehouse import collect_garbage, connect, publish, published_listing, query

GRACE = timedelta(minutes=15)
LATER = timedelta(minutes=16)
COUNT_RAW = "SELECT count(*) FROM raw_meter_readings"


def now() -> datetime:
    return datetime.now(UTC)


def publish_two_readings(data: DataDir) -> DataDir:
    """Two readings, the first compacted, and a mart over them, published."""
    land_rows(data, "a", [row(1)])
    compact(data, now=now())
    land_rows(data, "b", [row(2)])
    build_warehouse(
        data,
        [
            "CREATE TABLE health AS SELECT 'p1' AS pole_id, 97.5 AS score",
            "CREATE VIEW readings AS SELECT * FROM lake.compacted_readings",
        ],
    )
    publish(data)
    return data


@pytest.fixture
def published(data: DataDir) -> DataDir:
    return publish_two_readings(data)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """A published warehouse for tests that only ask."""
    return publish_two_readings(DataDir(tmp_path_factory.mktemp("shared") / "data"))


def test_publishing_gives_the_tables_and_when_the_lake_was_listed(data: DataDir) -> None:
    before = now()
    build_warehouse(data, ["CREATE TABLE health AS SELECT 1 AS x"])
    found = publish(data)

    assert {"health", "raw_meter_readings", "meters", "listing"} <= set(found.tables)
    assert found.bytes == data.published_warehouse.stat().st_size
    assert before - timedelta(seconds=1) <= found.listed_at <= now()
    assert found.listed_at == published_listing(data)


def test_nothing_is_published_before_dbt_has_built(data: DataDir) -> None:
    assert published_listing(data) is None
    with pytest.raises(WarehouseError, match=r"warehouse\.duckdb does not exist; run `ami build`"):
        publish(data)


def test_a_damaged_warehouse_is_not_published(published: DataDir) -> None:
    before = published.published_warehouse.read_bytes()
    published.warehouse.write_bytes(b"not a database" * 1000)

    with pytest.raises(WarehouseError, match="cannot publish"):
        publish(published)

    assert published.published_warehouse.read_bytes() == before
    assert not list(published.warehouse.parent.glob(".writing-*"))


def test_what_a_killed_writer_committed_is_published(published: DataDir) -> None:
    killed = (
        "import duckdb, os, sys\n"
        "con = duckdb.connect(sys.argv[1])\n"
        "con.execute(\"SET checkpoint_threshold = '1TB'\")\n"
        'con.execute("UPDATE health SET score = 12")\n'
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(published.warehouse)], check=False)
    assert published.warehouse.with_name("warehouse.duckdb.wal").exists()

    publish(published)

    assert query(published, "SELECT score FROM health").rows == [(12,)]
    folder = published.published_warehouse.parent
    assert not list(folder.glob(".writing-*"))
    assert not list(folder.glob("serve.duckdb.wal"))


def test_nothing_is_published_while_another_process_writes(published: DataDir) -> None:
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print(flush=True); input()",
            str(published.warehouse),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(WarehouseError, match="wait for its run to end"):
            publish(published)
    finally:
        writer.communicate(b"\n", timeout=30)
    assert query(published, "SELECT score FROM health").rows == [(97.5,)]


def test_a_reader_keeps_its_snapshot_while_another_is_published(published: DataDir) -> None:
    with connect(published) as reader:
        build_warehouse(published, ["CREATE OR REPLACE TABLE health AS SELECT 'p1', 12.0 AS score"])
        publish(published)
        assert reader.execute("SELECT score FROM health").fetchone() == (97.5,)

    assert query(published, "SELECT score FROM health").rows == [(12.0,)]


def test_a_table_that_is_kept_stays_as_it_was_published_and_a_new_one_stays_out(
    published: DataDir,
) -> None:
    before = query(published, "SELECT * FROM health").rows
    with duckdb.connect(str(published.warehouse)) as con:
        con.execute("CREATE OR REPLACE TABLE health AS SELECT 'wrong' AS v")
        con.execute("CREATE TABLE younger AS SELECT 'wrong' AS v")
        con.execute("CREATE TABLE sound AS SELECT 7 AS v")
    done = publish(published, keep={"health", "younger", "no_table"})
    assert done.kept == ["health", "younger"]
    assert query(published, "SELECT * FROM health").rows == before
    assert query(published, "SELECT * FROM sound").rows == [(7,)]
    with pytest.raises(WarehouseError, match="younger"):
        query(published, "SELECT * FROM younger")
    assert publish(published).kept == []
    assert query(published, "SELECT * FROM health").rows == [("wrong",)]


def test_plain_names_find_marts_and_the_lake_as_it_stands_now(published: DataDir) -> None:
    land_rows(published, "c", [row(3)])

    assert query(published, "SELECT * FROM health").columns == ["pole_id", "score"]
    assert query(published, COUNT_RAW).rows == [(3,)]
    assert query(published, "SELECT count(*) FROM readings").rows == [(1,)]


def test_every_table_is_listed_once(shared: DataDir) -> None:
    listed = [name for (name,) in query(shared, "SHOW TABLES").rows]
    assert sorted({"health", "readings", "raw_meter_readings", "meters"} - set(listed)) == []
    assert sorted(set(listed)) == sorted(listed)
    assert query(shared, "SELECT count(*) FROM lake.raw_meter_readings").rows == [(2,)]


def test_without_a_snapshot_the_lake_can_be_asked_and_a_mart_says_what_to_do(
    data: DataDir,
) -> None:
    land_rows(data, "a", [row(1)])

    assert query(data, COUNT_RAW).rows == [(1,)]
    with pytest.raises(WarehouseError, match="nothing is published yet: run `ami build`"):
        query(data, "SELECT * FROM health")


def test_parameters_are_bound(shared: DataDir) -> None:
    sql = "SELECT seq FROM raw_meter_readings WHERE meter_id = ? AND seq > ?"

    assert query(shared, sql, ["m1", 1]).rows == [(2,)]
    assert query(shared, sql, ["m1' OR true --", 0]).rows == []


def test_times_are_utc(shared: DataDir) -> None:
    assert query(shared, "SELECT current_setting('TimeZone')").rows == [("UTC",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "FROM health",
        "VALUES (1)",
        "DESCRIBE health",
        "SHOW TABLES",
        "SUMMARIZE health",
        "EXPLAIN SELECT 1",
        "explain analyze SELECT 1",
        "EXPLAIN (FORMAT json) SELECT 1",
        "-- a note\nSELECT 1;",
    ],
)
def test_reading_statements_are_answered(shared: DataDir, sql: str) -> None:
    assert query(shared, sql).rows


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE health",
        "INSERT INTO health VALUES ('p2', 1)",
        "UPDATE health SET score = 0",
        "DELETE FROM health",
        "DROP TABLE health",
        "CREATE TABLE x AS SELECT 1",
        "WITH a AS (SELECT 'p2' AS p, 1 AS s) INSERT INTO health SELECT * FROM a",
        "COPY (SELECT 1) TO '{root}/stolen.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/stolen.csv'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{root}/stolen.csv'",
        "explain/**/analyze COPY (SELECT 1) TO '{root}/stolen.csv'",
        "EXPLAIN EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/stolen.csv'",
        "EXPORT DATABASE '{root}/stolen'",
        "ATTACH '{root}/stolen.duckdb' AS stolen",
        "DETACH warehouse",
        "USE memory",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CHECKPOINT",
        "BEGIN",
        "SELEKT 1",
    ],
)
def test_anything_that_could_write_is_refused(shared: DataDir, sql: str) -> None:
    before = {p for p in shared.root.rglob("*") if p.is_file()}

    with pytest.raises(WarehouseError):
        query(shared, sql.replace("{root}", str(shared.root)))

    assert {p for p in shared.root.rglob("*") if p.is_file()} == before
    assert query(shared, "SELECT score FROM health").rows == [(97.5,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{path}')",
        "SELECT * FROM read_csv('{path}')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_text('{root}/../outside.csv')",
        "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    ],
)
def test_files_outside_the_data_folder_stay_closed(shared: DataDir, sql: str) -> None:
    outside = shared.root.parent / "outside.csv"
    outside.write_text("a,b\n1,2\n")
    filled = sql.format(path=outside, folder=outside.parent, root=shared.root)

    with pytest.raises(WarehouseError, match=r"Permission Error|Cannot access|disabled"):
        query(shared, filled)


def test_a_replaced_file_stays_for_the_grace_and_then_goes(published: DataDir) -> None:
    replaced = hour_files(published)
    compact(published, now=now())
    build_warehouse(published)
    publish(published)

    assert collect_garbage(published, now=now(), grace=GRACE) == 0
    assert replaced <= hour_files(published)
    removed = collect_garbage(published, now=now() + LATER, grace=GRACE)

    manifest = read_hour(published, HOUR).manifest
    assert removed == 3  # the two landed files and the readings of the first compaction
    assert hour_files(published) == {*manifest.readings, "manifest.json"}
    assert query(published, COUNT_RAW).rows == [(2,)]
    assert query(published, "SELECT count(*) FROM readings").rows == [(2,)]


def test_an_hour_that_is_committed_again_and_again_keeps_only_what_the_grace_covers(
    published: DataDir,
) -> None:
    """As the open hour is, every five minutes, where the grace is fifteen."""
    begun = now() - timedelta(hours=1)
    for tick in range(6):
        land_rows(published, f"t{tick}", [row(10 + tick)])
        at = begun + timedelta(minutes=5 * tick)
        compact(published, now=at)
        build_warehouse(published)
        publish(published)
        collect_garbage(published, now=at + timedelta(seconds=1), grace=GRACE)

    landed = {name for name in hour_files(published) if name.startswith("t")}
    assert landed == {landed_name(f"t{tick}", 1) for tick in (3, 4, 5)}
    readings = [name for name in hour_files(published) if name.startswith("readings-")]
    assert len(readings) == 4  # that of now and those of the last three ticks
    assert query(published, "SELECT count(*) FROM readings").rows == [(8,)]


def test_what_the_published_snapshot_names_stays_however_old(published: DataDir) -> None:
    time.sleep(0.01)
    compact(published, now=now())
    named = hour_files(published) - {landed_name("a", 1)}  # merged before it was published

    assert collect_garbage(published, now=now() + timedelta(days=1), grace=GRACE) == 1
    assert hour_files(published) == named
    assert query(published, "SELECT count(*) FROM readings").rows == [(1,)]


def test_nothing_is_collected_before_anything_is_published(data: DataDir) -> None:
    land_rows(data, "a", [row(1)])
    compact(data, now=now())
    before = hour_files(data)

    assert collect_garbage(data, now=now() + timedelta(days=1), grace=GRACE) == 0
    assert hour_files(data) == before


def test_pending_files_are_never_collected(published: DataDir) -> None:
    collect_garbage(published, now=now() + timedelta(days=1), grace=timedelta(0))

    assert landed_name("b", 1) in hour_files(published)
    assert query(published, COUNT_RAW).rows == [(2,)]


def test_a_reader_from_before_a_compaction_reads_on_within_the_grace(published: DataDir) -> None:
    with connect(published) as reader:
        compact(published, now=now())
        build_warehouse(published)
        publish(published)
        collect_garbage(published, now=now(), grace=GRACE)

        assert reader.execute(COUNT_RAW).fetchone() == (2,)
        assert reader.execute("SELECT count(*) FROM readings").fetchone() == (1,)

        collect_garbage(published, now=now() + LATER, grace=GRACE)
        with pytest.raises(duckdb.Error, match=r"\.parquet"):
            reader.execute(COUNT_RAW).fetchone()


def test_temporary_files_go_only_when_they_were_left_behind_hours_ago(published: DataDir) -> None:
    folder: Path = published.landing / hour_folder(HOUR)
    old, young = folder / ".writing-1-x.parquet", folder / ".writing-2-y.parquet"
    for path in (old, young):
        path.write_bytes(b"half")
    seven_hours_ago = time.time() - 7 * 3600
    os.utime(old, (seven_hours_ago, seven_hours_ago))

    assert remove_replaced(published, HOUR, now=now(), grace=GRACE) == 1
    assert not old.exists()
    assert young.exists()
