"""`ami archive`, `replay`, `deadletter` and `export` on a simulated stream with all its faults.

The stream is ingested, partly laid out and built; its replay into a new folder is built as well,
and every table of the two warehouses must hold the same rows.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, hours
from ami_store.registry import write_registry
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.layout import Layout, lay_out
from beam_jobs.pipeline import Ingest
from simulator.config import load_config
from simulator.fleet import registry_table
from simulator.publisher import CollectingPublisher
from simulator.run import simulate

DEMO = Path(__file__).parents[2] / "simulator" / "configs" / "demo.yaml"
START = datetime(2026, 3, 1, 13, 40, tzinfo=UTC)
END = START + timedelta(minutes=40)
BOUNDS = PayloadBounds(8 << 20, 64 << 20)


def messages(payload: str, poles: int) -> list[Message]:
    """Messages of the demo's fleet in the order of their arrival, with more faults than it has."""
    faults = {"drop_prob": 0.01, "duplicate_prob": 0.05, "reorder_prob": 0.1}
    config = load_config(
        DEMO,
        {
            "payload": payload,
            "fleet": {"feeders": 1, "poles": poles, "meters_per_pole": 3},
            "bad_payload_prob": 0.02,
            "seed": poles,
        }
        | faults,
    )
    publisher = CollectingPublisher()
    simulate(config, start=START, end=END, speed=None, publisher=publisher)
    return [
        Message(
            f"{payload}-{number}",
            datetime.fromtimestamp(m.due_us / 1e6, UTC),
            dict(m.attributes),
            m.data,
        )
        for number, m in enumerate(publisher.messages)
    ]


def take_in(data: DataDir, found: list[Message], name: str) -> None:
    graph = BoundedGraph(Ingest(data.root, BOUNDS))
    for number, start in enumerate(range(0, len(found), 400)):
        part = found[start : start + 400]
        clock = max(m.publish_time for m in part) + timedelta(seconds=1)
        graph.run([MessageBatch(f"{name}-{number}", clock, part)])


class Ami:
    """Runs `ami` in a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataDir(folder)

    def __call__(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "ami_cli.main", *arguments],
            env={**os.environ, "AMI_DATA_DIR": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stderr
        return done


@pytest.fixture(scope="module")
def ami(tmp_path_factory: pytest.TempPathFactory) -> Ami:
    """Two fleets, JSON and Arrow, whose meters share names (so that copies conflict).

    The first half of the archive is laid out, and some messages came hours late.
    """
    ami = Ami(tmp_path_factory.mktemp("platform") / "data")
    config = load_config(DEMO)
    write_registry(ami.data.registry, registry_table(config, START))
    found = sorted(messages("json", 2) + messages("arrow", 3), key=lambda m: m.publish_time)
    late, found = found[::37], [m for i, m in enumerate(found) if i % 37]
    later = [m._replace(publish_time=END + timedelta(hours=2)) for m in late]
    half = len(found) // 2
    take_in(ami.data, found[:half], "first")
    lay_out(ami.data, Layout(5), now=END + timedelta(days=1), everything=True)
    take_in(ami.data, found[half:] + later, "second")
    return ami


@pytest.fixture(scope="module")
def compacted(ami: Ami) -> Ami:
    """The same, its hours compacted."""
    with closing(compaction_connection()) as con:
        for hour in hours(ami.data):
            compact_hour(ami.data, hour.start, now=END + timedelta(days=1), con=con)
    return ami


@pytest.fixture(scope="module")
def built(compacted: Ami) -> Ami:
    """The same, built."""
    compacted("build")
    return compacted


@pytest.fixture(scope="module")
def replayed(built: Ami, tmp_path_factory: pytest.TempPathFactory) -> Ami:
    """All of it replayed into a new folder."""
    new = Ami(tmp_path_factory.mktemp("replayed") / "data")
    said = built("replay", "--into", str(new.folder)).stderr
    assert "readings/s" in said
    return new


@pytest.mark.slow
def test_every_table_of_a_replay_equals_the_original_s_row_for_row(
    built: Ami, replayed: Ami
) -> None:
    replayed("build")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, platform in (("a", built), ("b", replayed)):
            con.execute(f"ATTACH '{platform.data.published_warehouse}' AS {name} (READ_ONLY)")
        tables = con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'a' "
            # When and from which files a build was made is its own.
            "AND schema_name <> 'state' "
            "AND table_name NOT IN ('listing', 'hours', 'int_landed_windows') ORDER BY ALL"
        ).fetchall()
        counts = {}
        for schema, table in tables:
            types = con.execute(f"DESCRIBE a.{schema}.{table}").fetchall()
            # DuckDB's threads add up in no fixed order: any two builds may differ in the last bit.
            columns = ", ".join(
                f"CASE WHEN abs({name}) < 1000 THEN round({name}, 9) "
                f"ELSE round({name} / pow(10, floor(log10(abs({name})))), 10) END"
                if kind == "DOUBLE"
                else name
                for name, kind, *_ in types
            )
            a, b = (f"(SELECT {columns} FROM {side}.{schema}.{table})" for side in "ab")
            differing = con.execute(
                f"SELECT count(*) FROM (({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a}))"
            ).fetchone()
            counts[table] = con.execute(f"SELECT count(*) FROM {a}").fetchone()
            assert differing == (0,), table
    assert counts["voltage_events"][0] > 5
    assert counts["pole_health_hourly"][0] > 5


@pytest.mark.slow
def test_stored_rows_and_letters_of_a_replay_equal_the_original_s(
    built: Ami, replayed: Ami
) -> None:
    def answers(platform: Ami) -> list[Any]:
        sums = platform(
            "sql",
            "SELECT count(*), sum(hash(r)::HUGEINT)::VARCHAR FROM raw_meter_readings AS r",
            "--format",
            "json",
        )
        letters = platform("deadletter", "ls", "--format", "json")
        return [json.loads(sums.stdout), json.loads(letters.stdout)]

    assert answers(built) == answers(replayed)
    assert answers(built)[1][0]["readings"] > 5


def test_a_replay_in_place_repairs_and_then_finds_nothing(compacted: Ami, tmp_path: Path) -> None:
    assert "0 hours replaced" in compacted("replay").stderr
    unbuilt = shutil.ignore_patterns("warehouse", "dagster")
    copy = Ami(shutil.copytree(compacted.folder, tmp_path / "copy", ignore=unbuilt))
    (path, *_) = copy.data.readings.rglob("readings-*.parquet")
    path.write_bytes(b"")
    done = copy("replay", "--from", "2026-03-01T13:40", "--to", "2026-03-01T14:10").stderr
    assert "whole hours, so 2026-03-01 13:00Z … 2026-03-01 15:00Z" in done
    assert "1 hours replaced" in done
    assert "0 hours replaced" in copy("replay").stderr


def test_ranges_without_readings_and_wrong_options_are_one_line(ami: Ami, tmp_path: Path) -> None:
    for arguments, said in [
        (["replay", "--from", "2027-01-01", "--into", str(tmp_path / "n")], "hold nothing of"),
        (["replay", "--from", "2027-01-01", "--to", "2026-01-01"], "is not after"),
        (["replay", "--into", str(ami.folder)], "another folder"),
        (["export", "--from", "2027-01-01", "--out", str(tmp_path / "x.csv")], "no rows"),
        (["export", "--out", str(tmp_path / "x.xls")], "csv or parquet"),
        (["export", "--by", "week", "--out", str(tmp_path / "x")], "day or pole"),
        (["deadletter", "replay"], "choose letters by"),
        (["deadletter", "ls", "--code", "bad"], "--code 'bad': one of"),
        (["deadletter", "show", "nobody"], "no dead letter 'nobody'"),
    ]:
        done = ami(*arguments, ok=False)
        assert said in done.stderr, arguments
        assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_letters_are_listed_shown_and_judged_again(ami: Ami) -> None:
    listed = list(
        csv.DictReader(
            ami("deadletter", "ls", "--limit", "3", "--format", "csv").stdout.splitlines()
        )
    )
    assert len(listed) == 3
    shown = json.loads(ami("deadletter", "show", listed[0]["dead_letter_id"]).stdout)
    assert shown["code"] == listed[0]["code"]
    assert shown["payload"] or shown["payload_base64"]
    assert shown["attributes"]["gateway_id"]
    code = listed[0]["code"]
    said = ami("deadletter", "replay", "--code", code, "--dry-run").stderr
    assert "0 readings would be stored from 0 of them; still refused: " in said
    assert f" {code}" in said


@pytest.mark.slow
def test_an_export_holds_what_a_query_answers(built: Ami, tmp_path: Path) -> None:
    out = tmp_path / "csv" / "readings.csv.gz"
    built("export", "--from", "2026-03-01T13:45", "--to", "2026-03-01T14:05", "--out", str(out))
    built("export", "--table", "voltage_events", "--out", str(tmp_path / "events.parquet"))
    answer = built(
        "sql",
        "SELECT count(*) AS n, round(sum(voltage_v), 3) AS v, "
        "(SELECT count(*) FROM voltage_events) AS events FROM readings "
        "WHERE event_ts >= '2026-03-01 13:45Z' AND event_ts < '2026-03-01 14:05Z'",
        "--format",
        "json",
    )
    [wanted] = json.loads(answer.stdout)
    with duckdb.connect() as con:
        found = con.execute(
            f"SELECT count(*), round(sum(voltage_v), 3), "
            f"max(event_ts_utc) < '2026-03-01 14:05Z' FROM read_csv('{out}')"
        ).fetchone()

    assert found == (wanted["n"], wanted["v"], True)
    assert pq.read_metadata(tmp_path / "events.parquet").num_rows == wanted["events"]


def test_ami_archive_lays_out_what_is_left(compacted: Ami) -> None:
    said = compacted("archive").stderr
    assert "0 wait for their minute to close" in said
    assert not list((compacted.data.archive / "segments").glob("*/*/[!.]*"))
    assert list(compacted.data.archive_raw.glob("pole_id=*/dt=2026-03-01/hr=13/min=40/*.arrow"))
    assert "0 hours replaced" in compacted("replay").stderr
