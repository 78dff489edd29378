"""The `ami` command as a person or a script meets it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
from support import HOUR, fill_lake, stored_rows

from ami_contract.lake import DataDir
from ami_store.lake import land

DATA = Path(__file__).parent.parent / "data"
EXTRACT = DATA / "household_power_7d.csv.gz"
MAP = DATA / "household_power.map.yaml"


class Ami:
    """Runs `ami` in a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ami_cli.main", *arguments],
            env={**os.environ, "AMI_DATA_DIR": str(self.folder), **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def sql(self, statement: str) -> list[dict[str, object]]:
        done = self("sql", statement, "--format", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, list)
        return found


@pytest.fixture
def ami(tmp_path: Path) -> Ami:
    return Ami(tmp_path / "data")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Ami:
    """The first day of a real house, imported and built."""
    folder = tmp_path_factory.mktemp("house")
    with gzip.open(EXTRACT, "rt") as week:
        (folder / "day.csv").write_text("".join(islice(week, 1 + 1440)))
    ami = Ami(folder / "data")
    imported = ami("import", str(folder / "day.csv"), "--map", str(MAP))
    assert imported.returncode == 0, imported.stderr
    assert "1440 rows: 1440 stored, 0 rejected" in imported.stdout
    built = ami("build")
    assert built.returncode == 0, built.stderr
    return ami


def test_help_names_every_command(ami: Ami) -> None:
    text = ami("--help").stdout
    commands = [
        "pubsub",
        "simulate",
        "ingest",
        "import",
        "ledger",
        "build",
        "sql",
        "up",
        "demo",
        "archive",
        "replay",
        "deadletter",
        "export",
    ]
    commands += ["smoke"]
    assert [command for command in commands if f" {command} " not in text] == []


def test_a_day_of_a_real_house_is_stored_whole_and_shows_no_sag(house: Ami) -> None:
    [row] = house.sql(
        "SELECT (SELECT count(*) FROM raw_meter_readings) AS stored, "
        "(SELECT count(*) FROM voltage_events) AS events, count(*) AS health_hours, "
        "sum(energy_kwh) AS energy_kwh, sum(missing) AS missing FROM pole_health_hourly"
    )
    assert (row["stored"], row["events"], row["health_hours"], row["missing"]) == (1440, 0, 24, 0)
    # Σ Global_active_power / 60 over the file's own rows.
    assert row["energy_kwh"] == pytest.approx(32.974199999999975, rel=1e-9)


def test_a_second_import_changes_nothing(house: Ami) -> None:
    files = sorted(str(path) for path in house.folder.glob("landing/**/*.parquet"))
    again = house("import", str(house.folder.parent / "day.csv"), "--map", str(MAP))
    assert again.returncode == 0
    assert "was imported before, nothing changed" in again.stdout
    assert sorted(str(path) for path in house.folder.glob("landing/**/*.parquet")) == files
    assert "nothing is pending" in house("build").stderr
    assert house.sql("SELECT count(*) AS n FROM raw_meter_readings") == [{"n": 1440}]


def test_the_ledger_of_the_import_closes(house: Ami) -> None:
    done = house("ledger", "--format", "json")
    assert done.returncode == 0
    total = json.loads(done.stdout)[-1]
    assert (total["expected"], total["stored"], total["lost"]) == (1440, 1440, 0)


def test_the_published_warehouse_is_read_only(house: Ami) -> None:
    for statement in (
        "DELETE FROM voltage_events",
        "COPY (SELECT 1) TO 'x.csv'",
        "SELECT 1; SELECT 2",
        "ATTACH 'x.duckdb'",
    ):
        done = house("sql", statement)
        assert done.returncode == 1
        assert done.stderr.startswith("ami: ")
        assert "Traceback" not in done.stderr


def test_a_typing_error_in_sql_is_one_message_without_a_stack_trace(house: Ami) -> None:
    done = house("sql", "SELECT nothing FROM voltage_events")
    assert done.returncode == 1
    assert '"nothing" not found' in done.stderr
    assert "Traceback" not in done.stderr


def test_sql_before_any_build_says_what_to_do(ami: Ami) -> None:
    done = ami("sql", "SELECT * FROM voltage_events")
    assert done.returncode == 1
    assert "nothing is published yet: run `ami build`" in done.stderr


def test_an_import_with_a_missing_column_fails_before_anything_is_written(
    ami: Ami, tmp_path: Path
) -> None:
    mapping = tmp_path / "map.yaml"
    mapping.write_text(MAP.read_text().replace("voltage_v: Voltage", "voltage_v: Volts"))
    done = ami("import", str(EXTRACT), "--map", str(mapping))
    assert done.returncode == 2
    assert "the map names the column 'Volts', which the file does not have" in done.stderr
    assert not ami.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["simulate", "--speed", "fast"], {}, "--speed 'fast': a positive number, or max"),
        (["simulate", "--from", "noon"], {}, "'noon' is not a time"),
        (["simulate", "--config", "absent.yaml", "--stdout"], {}, "absent.yaml"),
        (["pubsub"], {"AMI_PUBSUB_PORT": "70000"}, "AMI_PUBSUB_PORT='70000'"),
        (["sql", "SELECT 1", "--format", "xml"], {}, "--format 'xml'"),
        (["import", "absent.csv", "--map", str(MAP)], {}, "absent.csv"),
        (["ledger", "--truth", "absent"], {}, "absent: no ground truth here"),
        (["build"], {"AMI_PROFILE": "gcp"}, "with AMI_PROFILE=gcp `ami dbt build` builds"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    ami: Ami, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    done = ami(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_data_folder_that_is_a_file_is_one_line(ami: Ami) -> None:
    ami.folder.write_text("no folder")
    done = ami("build")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert f"ami: {ami.folder} is a file where a folder belongs" in done.stderr


def test_simulate_to_stdout_is_the_same_every_time(ami: Ami) -> None:
    window = ["--from", "2026-03-01T14:00", "--duration", "5", "--speed", "max", "--stdout"]
    first, second = ami("simulate", *window), ami("simulate", *window)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    readings = [json.loads(line) for line in first.stdout.splitlines()]
    assert {reading["meter_id"] for reading in readings} >= {"meter-0001-001", "meter-0004-005"}


def test_ingest_without_pubsub_says_how_to_start_it(ami: Ami) -> None:
    done = ami("ingest", AMI_PUBSUB_PORT="1")
    assert done.returncode == 1
    assert "no Pub/Sub answers at 127.0.0.1:1; start it with `ami pubsub`" in done.stderr


def test_a_failed_build_says_what_failed_and_exits_1(ami: Ami) -> None:
    data = DataDir(ami.folder)
    fill_lake(data)
    data.registry.write_text("meter_id,nominal_voltage_v\nm1,high\n")
    done = ami("build")
    assert done.returncode == 1
    assert "build failed" in done.stderr
    data.registry.unlink()
    assert ami("ledger").returncode == 0


def test_a_ledger_that_does_not_close_exits_1(house: Ami, tmp_path: Path) -> None:
    truth = tmp_path / "run-x"
    truth.mkdir()
    [reading] = house.sql(
        "SELECT min(seq) AS first_seq, max(seq) AS last_seq, min(event_ts) AS first_ts, "
        "max(event_ts) AS last_ts FROM readings"
    )
    (truth / "meters.csv").write_text(
        "meter_id,epoch,first_seq,last_seq,first_event_ts,last_event_ts\n"
        f"sceaux_house_1,0,{reading['first_seq']},{int(str(reading['last_seq'])) + 1},"
        f"{reading['first_ts']},2031-01-01T00:00:00Z\n"
    )
    done = house("ledger", "--truth", str(tmp_path))
    assert done.returncode == 1
    assert "sceaux_house_1: 1 readings neither stored" in done.stderr
    closes = house("ledger", "--truth", str(tmp_path), "--to", str(reading["last_ts"]))
    assert closes.returncode == 0, closes.stderr


@pytest.mark.slow
def test_absurd_counters_do_not_stop_the_build(ami: Ami) -> None:
    data = DataDir(ami.folder)
    fill_lake(data)
    most = 2**53 - 1
    for meter_id, first, second in (("far", 5, most - 5), ("jump", 0, 2_000_000_000_000)):
        for name, start, seq in (("a", HOUR, first), ("b", HOUR + timedelta(hours=1), second)):
            rows = stored_rows(start, [200.0] * 3, meter_id=meter_id)
            counters = pa.array([seq, seq + 1, seq + 2], pa.int64())
            index = rows.schema.get_field_index("seq")
            rows = rows.set_column(index, rows.schema.field("seq"), counters)
            land(data, start, f"{meter_id}-{name}", rows)
    done = ami("build")
    assert done.returncode == 0, done.stderr
    [row] = ami.sql("SELECT count(*) AS n, sum(lost) AS lost FROM pole_health_hourly")
    assert row["n"] == 2


def test_the_demo_check_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ami_cli.main", "demo", "--check"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "demo --check passed" in done.stderr
