"""kill -9 of ingest, Pub/Sub and a Dagster run at random moments: nothing lost, nothing twice.

One story, because each kill builds on what the one before left: a JSON and an Arrow gateway publish
with drops, duplicates, damaged and late readings, while the processes that handle them are killed
and started again.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil
import pyarrow as pa
import pytest
from fault_platform import Platform, comes_true, kill, running, wait_until

from ami_contract.lake import DataDir
from ami_dagster.local_run import instance_of
from ami_store.ledger import balance
from ami_store.warehouse import query

START = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
METERS = 3
CONFIG = """
pole_id: {pole_id}
num_meters: {meters}
sample_hz: 1
publish_mode: batch
payload: {payload}
batch_interval_s: {batch_interval_s}
batch_max_readings: {batch_max_readings}
network_profile: 5g
drop_prob: 0.05
duplicate_prob: 0.05
reorder_prob: 0.10
reorder_max_batches: {reorder_max_batches}
bad_payload_prob: 0.001
force_sag_every_s: 600
seed: 11
"""


@dataclass(frozen=True)
class Story:
    """How much is published and how often something is killed.

    Attributes:
        seed: of the moments and victims of the kills.
        kills: of ingest, Pub/Sub or both.
        window: published.
        late: a reading comes up to this much later.
        batch_max_readings: readings of a message.
        max_messages: of a micro-batch; few, so that work is left for every kill.
    """

    seed: int
    kills: int
    window: timedelta
    late: timedelta
    batch_max_readings: int
    max_messages: int

    def config(self, pole_id: str, payload: str) -> str:
        batch_interval_s = self.late.total_seconds() / 96
        return CONFIG.format(
            pole_id=pole_id,
            payload=payload,
            meters=METERS,
            batch_interval_s=batch_interval_s,
            batch_max_readings=self.batch_max_readings,
            reorder_max_batches=96,
        )


TWO = Story(8, 2, timedelta(hours=1), timedelta(minutes=30), 40, 20)
# About five minutes on two cores.
FIFTY = Story(50, 50, timedelta(hours=26), timedelta(hours=24), 200, 3)


def runs_dbt(process: subprocess.Popen[bytes]) -> bool:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        lines = [child.cmdline() for child in children]
        return any(
            "build" in line and any(part.endswith("/dbt") for part in line) for line in lines
        )
    except psutil.NoSuchProcess:
        return False


def gateway(
    platform: Platform, story: Story, pole_id: str, payload: str
) -> subprocess.Popen[bytes]:
    return platform.simulate(story.config(pole_id, payload), START, story.window)


def publish_and_kill(platform: Platform, story: Story) -> None:
    """Publish and ingest all of it, whatever is killed meanwhile."""
    rng = random.Random(story.seed)
    pubsub, ingest = platform.start_pubsub(), platform.start("ingest")
    gateways = [gateway(platform, story, "pole-1", "json")]
    amid_work = 0
    for number in range(story.kills):
        if number == story.kills // 2:
            gateways.append(gateway(platform, story, "pole-2", "arrow"))
        landed = platform.landed()
        victim = rng.choice(["ingest", "pubsub", "both"])
        moment_s = rng.uniform(0, 1)
        amid_work += comes_true(lambda seen=landed: platform.landed() > seen, 20)
        with pytest.raises(subprocess.TimeoutExpired):
            ingest.wait(moment_s)
        if victim != "pubsub":
            kill(ingest)
        if victim != "ingest":
            kill(pubsub)
            pubsub = platform.start_pubsub()
        if victim != "pubsub":
            ingest = platform.start("ingest")
    assert amid_work >= 0.9 * story.kills
    assert [each.wait(120) for each in gateways] == [0, 0]
    kill(ingest)
    # A server that starts again has forgotten what the killed ingest had leased.
    kill(pubsub)
    platform.start_pubsub()
    assert platform.run("ingest", "--drain", "3", timeout_s=300) == 0


@dataclass(frozen=True)
class Survived:
    """The platform after all kills and restarts, and what the ingest left before the build."""

    platform: Platform
    story: Story
    stored: set[tuple[str, int]]
    archived: set[tuple[str, int]]

    @property
    def data(self) -> DataDir:
        return self.platform.data


def landed_readings(data: DataDir) -> set[tuple[str, int]]:
    paths = sorted(data.landing.rglob("[!.]*.parquet"))
    return {
        pair
        for path in paths
        for pair in pairs(pa.parquet.read_table(path, columns=["meter_id", "seq"]))
    }


def archived_readings(data: DataDir) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for path in data.archive.rglob("[!.]*.jsonl"):
        for line in path.read_bytes().splitlines():
            readings = json.loads(line)["readings"]
            found |= {(reading["meter_id"], reading["seq"]) for reading in readings}
    for path in data.archive.rglob("[!.]*.arrow"):
        for payload in pa.ipc.open_file(path).read_all()["payload"].to_pylist():
            found |= pairs(pa.ipc.open_stream(payload).read_all())
    return found


def pairs(table: pa.Table) -> set[tuple[str, int]]:
    return set(zip(table["meter_id"].to_pylist(), table["seq"].to_pylist(), strict=True))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(TWO, id="2 kills"),
        pytest.param(FIFTY, id="50 kills", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def survived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Survived]:
    story: Story = request.param
    print(f"kills at random moments, seed {story.seed}")
    bound = {"AMI_INGEST_MAX_MESSAGES": str(story.max_messages)}
    with running(tmp_path_factory.mktemp("kills"), bound) as platform:
        publish_and_kill(platform, story)
        stored, archived = landed_readings(platform.data), archived_readings(platform.data)
        build = platform.start("build")
        wait_until(lambda: runs_dbt(build), 200)
        kill(build)
        assert platform.run("build", timeout_s=600) == 0
        yield Survived(platform, story, stored, archived)


def test_no_reading_is_lost(survived: Survived) -> None:
    ledger = balance(survived.data, survived.data.truth)
    assert ledger.problems == []
    total = ledger.total
    assert total.expected == 2 * METERS * survived.story.window.total_seconds()
    assert total.lost == total.declared_lost
    assert total.duplicates > 0


def test_the_archive_holds_every_reading_that_is_stored_and_no_other(survived: Survived) -> None:
    assert survived.archived == survived.stored
    assert len(survived.stored) == balance(survived.data).total.stored


def test_no_half_written_file_is_left_where_readers_look(survived: Survived) -> None:
    for root in (survived.data.landing, survived.data.archive, survived.data.deadletter):
        assert all(path.stat().st_size for path in root.rglob("[!.]*.*") if path.is_file())


def test_no_reading_is_twice_in_the_marts(survived: Survived) -> None:
    [(rows, distinct)] = query(
        survived.data,
        "SELECT count(*), count(DISTINCT (meter_id, epoch, seq)) FROM readings",
    ).rows
    assert rows == distinct == len(survived.stored)


def test_every_event_is_there_once(survived: Survived) -> None:
    [(events, distinct, overlapping)] = query(
        survived.data,
        """
        SELECT
            count(*),
            count(DISTINCT event_id),
            count(*) FILTER (start_ts <= previous_end)
        FROM (
            SELECT *, lag(end_ts) OVER (PARTITION BY meter_id ORDER BY start_ts) AS previous_end
            FROM voltage_events
        )
        """,
    ).rows
    assert events == distinct
    # A forced sag every 600 s on each of the two poles.
    assert events >= 2 * survived.story.window / timedelta(seconds=600)
    assert overlapping == 0


def test_the_killed_run_is_recorded_as_failed(
    survived: Survived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(survived.data.dagster_home))
    with instance_of(survived.data.dagster_home) as instance:
        states = [record.dagster_run.status.value for record in instance.get_run_records()]
    # The build that made up for it refreshed the hours, then their days.
    assert sorted(states) == ["FAILURE", "SUCCESS", "SUCCESS"]


def test_dead_letters_keep_their_reason(survived: Survived) -> None:
    lines = [
        json.loads(line)
        for path in survived.data.deadletter.glob("segments/*/*/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert lines
    assert all(line["code"] and line["detail"] and line["payload"] for line in lines)
