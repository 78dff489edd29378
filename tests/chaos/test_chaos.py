"""The chaos suite can fail: its verdict sees what is lost, doubled or different.

The faults themselves are played by `make chaos`, a dozen of them by the slow test here.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from ami_contract.lake import DataDir
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.pipeline import Ingest
from tests.chaos.__main__ import Course
from tests.chaos.faults import KINDS, drawn
from tests.chaos.network import Relay
from tests.chaos.poison import poisons
from tests.chaos.verdict import KEYS, Verdict, compare_marts

NOW = datetime(2026, 3, 1, 15, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_comes_once_and_a_seed_gives_the_same_faults() -> None:
    found = drawn(KINDS, 60, random.Random(5))
    assert len(found) == 60
    assert {kind.name for kind in found} == {kind.name for kind in KINDS}
    assert found == drawn(KINDS, 60, random.Random(5))
    assert len(drawn(KINDS, 4, random.Random(5))) == 4


def test_a_fault_with_nothing_to_hit_comes_again_and_in_the_end_another_in_its_place() -> None:
    course, rng = Course(), random.Random(5)
    absent, present = KINDS[:2]
    again = [course.instead_of(absent, KINDS[:2], rng) for _ in range(41)]
    assert again == [(absent,)] * 40 + [(present,)]
    assert course.skipped == {absent.name: 1}
    assert course.instead_of(absent, [absent], rng) == ()


def test_nothing_of_any_poison_is_stored_and_each_becomes_a_dead_letter(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    sent = [one for seed in range(3) for one in poisons(random.Random(seed), f"p{seed}")]
    messages = [
        Message(f"m{number}", NOW, each.attributes, each.data) for number, each in enumerate(sent)
    ]
    graph = BoundedGraph(Ingest(data.root, PayloadBounds(8 * 1024**2, 64 * 1024**2)))
    graph.run([MessageBatch("poison", NOW, messages)])
    letters = {
        json.loads(line)["attributes"]["batch_id"]
        for path in data.deadletter.glob("segments/*/*/*.jsonl")
        for line in path.read_bytes().splitlines()
    }
    assert letters == {each.attributes["batch_id"] for each in sent}
    assert not list(data.landing.rglob("*.parquet"))


def marts(folder: Path, readings: list[tuple[str, int, float]], events: list[str]) -> DataDir:
    """A published warehouse of which only readings and voltage events have rows."""
    data = DataDir(folder)
    data.published_warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(data.published_warehouse)) as con:
        for table, key in KEYS.items():
            columns = ", ".join(f"{name.strip()} VARCHAR" for name in key.split(","))
            con.execute(f"CREATE TABLE {table} ({columns}, latency_s DOUBLE, value DOUBLE)")
        for number, (meter_id, seq, value) in enumerate(readings):
            row = [meter_id, "0", str(seq), number, value]
            con.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?)", row)
        for event in events:
            con.execute("INSERT INTO voltage_events VALUES (?, 0, 1)", [event])
    return data


CALM = [("m1", 1, 240.0), ("m1", 2, 239.0), ("m2", 1, 241.0)]


@pytest.mark.parametrize(
    ("readings", "events", "wrong"),
    [
        (list(reversed(CALM)), ["e1", "e2"], {}),
        (CALM[1:], ["e1", "e2"], {"lost": 1}),
        ([*CALM, CALM[0]], ["e1", "e2"], {"strange": 1, "duplicated": 1}),
        ([*CALM[1:], ("m1", 1, 240.5)], ["e1", "e2"], {"lost": 1, "strange": 1}),
        ([*CALM, ("m3", 1, 1.0)], ["e1", "e2"], {"strange": 1}),
        (CALM, ["e1"], {"differing": {"voltage_events": 1}}),
        (CALM, ["e1", "e2", "e2"], {"duplicated": 1, "differing": {"voltage_events": 1}}),
    ],
    ids=["same", "lost", "doubled", "changed", "strange", "event lost", "event doubled"],
)
def test_the_verdict_sees_what_is_lost_doubled_or_different(
    tmp_path: Path,
    readings: list[tuple[str, int, float]],
    events: list[str],
    wrong: dict[str, object],
) -> None:
    calm = marts(tmp_path / "calm", CALM, ["e1", "e2"])
    found = Verdict()
    compare_marts(calm, marts(tmp_path / "shaken", readings, events), found)
    assert found.expected == 3
    seen = {name: getattr(found, name) for name in ("lost", "strange", "duplicated", "differing")}
    assert {name: value for name, value in seen.items() if value} == wrong
    assert found.is_good is not bool(wrong)


@pytest.fixture
def echo() -> Iterator[tuple[Relay, socket.socket]]:
    """A relay and what listens behind it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        relay = Relay("127.0.0.1", server.getsockname()[1])
        yield relay, server
        relay.close()


def test_a_silenced_relay_holds_back_and_a_reset_ends_connections(
    echo: tuple[Relay, socket.socket],
) -> None:
    relay, server = echo
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as near:
        near.sendall(b"one")
        far, _ = server.accept()
        with far:
            far.settimeout(0.3)
            assert far.recv(10) == b"one"
            relay.silence()
            near.sendall(b"two")
            with pytest.raises(TimeoutError):
                far.recv(10)
            relay.mend()
            assert far.recv(10) == b"two"
            relay.reset()
            assert far.recv(10) == b""
        assert relay.passed == 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dozen_faults_lose_and_double_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.chaos", "--faults", "12", "--seed", "12"]
    begun_s = time.monotonic()
    done = subprocess.run(
        [*command, "--no-dashboard", "--out", str(report)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    found = json.loads(report.read_text())
    assert (found["faults"], found["lost"], found["duplicated"]) == (12, 0, 0), said
    assert found["duration_s"] <= time.monotonic() - begun_s + 1
