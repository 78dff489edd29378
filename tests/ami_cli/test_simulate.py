"""`ami simulate`: options are checked first, history is the ingest's, kills lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ami_cli import main, simulation
from ami_cli.history import HistoryPublisher, history_key
from ami_contract.lake import DataDir
from ami_store.registry import read_registry
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.local import LocalStore
from beam_jobs.source import PubSubSource
from local_pubsub.server import PubSubServer
from simulator.config import load_config
from simulator.publisher import CollectingPublisher
from simulator.run import simulate

CONFIGS = Path(__file__).parents[2] / "simulator" / "configs"
START = datetime(2026, 3, 1, 13, 58, tzinfo=UTC)
WINDOW = ["--from", "2026-03-01T13:58", "--to", "2026-03-01T14:02"]
BOUNDS = PayloadBounds(1 << 23, 1 << 26)

Ami = Callable[..., tuple[int, str]]


@pytest.fixture
def ami(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ami:
    """Runs `ami simulate` in this process: (exit status, what it says)."""
    monkeypatch.setenv("AMI_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ami", "simulate", *arguments])
        status = 0
        try:
            main.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--poles", "0"], "fleet.poles = 0: must be greater than or equal to 1"),
        (["--meters", "-3"], "fleet.meters_per_pole = -3: must be greater than"),
        (["--poles", "x"], "'--poles'"),
        (["--pole", "3", "--hertz", "2"], "No such option: --"),
        (["--seed", "-1"], "seed = -1: must be greater than or equal to 0"),
        (["--config", str(CONFIGS / "smoke.yaml"), "--poles", "2"], "poles = 2: only with a fleet"),
        (["--speed", "fast"], "--speed 'fast': a positive number, or max"),
        (["--speed", "0"], "--speed '0': a positive number, or max"),
        (["--speed", "inf"], "--speed 'inf': a positive number, or max"),
        (["--duration", "0"], "--duration 0: seconds above 0"),
        (["--duration", "nan"], "--duration nan: seconds above 0"),
        (["--duration", "9", "--to", "2030-01-01"], "--duration and --to: give one of the two"),
        ([*WINDOW[:2], "--to", "2026-03-01T13:00"], "--to 2026-03-01T13:00:00+00:00: later than"),
        (["--from", "noon"], "'noon' is not a time"),
        (["--from", "2020-01-01"], "--from 2020-01-01T00:00:00+00:00: not before seq_origin"),
        (["--out", "x"], "--out x: needs --from and --to (or --duration)"),
        (["--out", "x", *WINDOW[:2]], "--out x: needs --from and --to"),
        (["--out", "x", *WINDOW, "--stdout"], "--stdout and --out: give one of them"),
        (["--out", "x", *WINDOW, "--speed", "5"], "--speed 5: not with --out"),
        (["--out", "x", *WINDOW, "--out-form", "csv"], "--out-form 'csv': lake or archive"),
        (["--out", __file__, *WINDOW], "is a file; give a folder"),
        (["--out", "x", *WINDOW, "--spool", "y"], "--spool: not with --out"),
        (["--out-form", "lake"], "--out-form lake: only with --out"),
        (["--plot", "x.gif"], "--plot x.gif: a file that ends in .png, .svg, .html"),
        (["--plot", "x.png", "--out", "x"], "--out and --plot: give one of them"),
        (["--plot", "x.png", "--truth", "t"], "--truth t: not with --plot"),
    ],
)
def test_wrong_options_are_one_line_and_status_2_and_nothing_is_made(
    ami: Ami,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(simulation, "PubSubPublisher", None)
    status, said = ami(*arguments)
    assert status == 2
    assert said.startswith("ami: ")
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def landed(data: DataDir) -> pa.Table:
    files = sorted(data.landing.rglob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(path) for path in files])
    return rows.sort_by([(name, "ascending") for name in ("batch_id", "meter_id", "seq")])


@pytest.mark.parametrize("payload", ["json", "ndjson", "arrow"])
def test_history_in_lake_form_is_what_the_ingest_makes_of_the_same_messages(
    tmp_path: Path, payload: str
) -> None:
    config = load_config(
        CONFIGS / "demo.yaml", {"payload": payload, "bad_payload_prob": 0.01, "drop_prob": 0.01}
    )
    end = START + timedelta(minutes=4)
    window = {"start": START, "end": end, "speed": None}
    sent = CollectingPublisher()
    simulate(config, publisher=sent, **window)  # type: ignore[arg-type]
    ours, theirs = DataDir(tmp_path / "ours"), DataDir(tmp_path / "theirs")
    history = HistoryPublisher(ours, "lake", history_key(config, START, end), BOUNDS)
    simulate(config, publisher=history, **window)  # type: ignore[arg-type]
    messages = [
        Message(m.attributes["batch_id"], START, m.attributes, m.data) for m in sent.messages
    ]
    LocalStore(theirs, BOUNDS).store(MessageBatch("all", end, messages))
    mine, other = landed(ours), landed(theirs)
    assert mine.drop_columns("ingest_ts").equals(other.drop_columns("ingest_ts"))
    assert mine.num_rows == history.stored > 4000
    due = {m.attributes["batch_id"]: m.due_us for m in sent.messages}
    arrived = zip(mine["batch_id"].to_pylist(), mine["ingest_ts"].to_pylist(), strict=True)
    assert all(round(at.timestamp() * 1e6) == due[batch] for batch, at in arrived)
    assert dead_letters(ours) == dead_letters(theirs)
    assert len(dead_letters(ours)) == history.refused > 10


def dead_letters(data: DataDir) -> set[tuple[object, ...]]:
    return {
        (letter["dead_letter_id"], letter["code"], letter["field"], letter["seq"])
        for path in data.deadletter.rglob("*.jsonl")
        for letter in map(json.loads, path.read_text().splitlines())
    }


def test_history_written_twice_is_there_once_with_registry_and_truth(
    ami: Ami, tmp_path: Path
) -> None:
    out = tmp_path / "history"
    order = ["--poles", "2", "--meters", "3", *WINDOW, "--out", str(out)]
    order += ["--truth", str(out / "truth")]
    assert ami(*order)[0] == 0
    files = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    assert sum(pq.read_metadata(path).num_rows for path in files) > 1400
    assert {path.parent.name for path in files} == {"hr=13", "hr=14"}
    assert ami(*order)[0] == 0
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == files
    assert read_registry(DataDir(out).registry).num_rows == 6
    [summary] = out.glob("truth/*/run.json")
    assert json.loads(summary.read_text())["totals"]["generated"] == 2 * 3 * 240
    assert not (tmp_path / "data").exists()


def test_history_in_archive_form_holds_every_message_as_it_arrived(
    ami: Ami, tmp_path: Path
) -> None:
    out = tmp_path / "history"
    assert ami(*WINDOW, "--out", str(out), "--out-form", "archive")[0] == 0
    lines = [
        json.loads(line)
        for path in sorted(out.glob("archive/segments/*/*/*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    refused = [
        json.loads(line)
        for path in out.glob("deadletter/segments/*/*/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    sent = CollectingPublisher()
    simulate(
        load_config(CONFIGS / "demo.yaml"),
        start=START,
        end=START + timedelta(minutes=4),
        speed=None,
        publisher=sent,
    )
    found = Counter(
        (line["message_id"], json.dumps(reading)) for line in lines for reading in line["readings"]
    )
    found.update(
        (line["message_id"], json.dumps(json.loads(line["payload"])))
        for line in refused
        if line["row"] is not None
    )
    spoilt = {line["message_id"] for line in refused if line["row"] is None}
    assert found == Counter(
        (m.attributes["batch_id"], json.dumps(reading))
        for m in sent.messages
        if m.attributes["batch_id"] not in spoilt
        for reading in json.loads(m.data)
    )
    assert {line["payload"].encode() for line in refused if line["row"] is None} == {
        m.data for m in sent.messages if m.attributes["batch_id"] in spoilt
    }
    assert not (out / "landing").exists()


def received(endpoint: str, *, idle_s: float = 2.0) -> dict[tuple[str, int], int]:
    """(meter, seq) → copies of all readings on the platform's subscription."""
    source = PubSubSource("ami-local", "ami-meter-data", "ami-meter-data-sub", endpoint)
    found: dict[tuple[str, int], int] = {}
    since = time.monotonic()
    while time.monotonic() - since < idle_s:
        for item in source.pull(1000, 0.5):
            since = time.monotonic()
            for reading in json.loads(item.message.data):
                key = (reading["meter_id"], reading["seq"])
                found[key] = found.get(key, 0) + 1
            source.acknowledge([item.ack_id])
    source.close()
    return found


def test_a_gateway_killed_twice_delivers_every_reading_when_started_again(tmp_path: Path) -> None:
    config = tmp_path / "sim.yaml"
    config.write_text(
        "fleet: {poles: 4, meters_per_pole: 5}\nbatch_interval_s: 2\nvoltage_sag_prob: 0\n"
        "network_profile: [wired, sat]\nreorder_prob: 0.02\n"
    )
    minutes = 4
    with PubSubServer(tmp_path / "pubsub", port=0) as server:
        command = [sys.executable, "-m", "ami_cli.main", "simulate", "--config", str(config)]
        command += ["--from", "2026-03-01T14:00", "--duration", str(60 * minutes), "--speed", "40"]
        command += ["--truth", str(tmp_path / "truth")]
        environment = {
            **os.environ,
            "AMI_DATA_DIR": str(tmp_path / "data"),
            "PUBSUB_EMULATOR_HOST": server.endpoint,
        }
        spool = tmp_path / "data" / "spool"
        for _ in range(2):
            killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 30
            while not any(spool.rglob("*.seg")) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1.2)
            killed.send_signal(signal.SIGKILL)
            assert killed.wait(timeout=10) == -signal.SIGKILL
        last = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert last.returncode == 0, last.stderr
        found = received(server.endpoint)
    assert len(found) == 20 * 60 * minutes
    # What was under way when the process was killed is sent once more; nothing else is.
    assert sum(found.values()) < 1.5 * len(found)
    assert not list(spool.rglob("*.seg"))
    [summary] = (tmp_path / "truth").glob("*/run.json")
    truth = json.loads(summary.read_text())
    assert truth["complete"]
    assert truth["totals"]["generated"] == len(found)
