"""A full disk and a folder that cannot be written: the ingest says so, acks nothing, goes on after.

The lake lies on a file system of its own, mounted in a namespace that a child process holds open.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_platform import Platform, running, wait_until

from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.files import TEMPORARY_PREFIX
from ami_store.ledger import balance
from beam_jobs.source import PubSubSource

CONFIG = """
pole_id: {pole_id}
num_meters: 3
publish_mode: batch
payload: {payload}
batch_interval_s: 5
drop_prob: 0.05
reorder_prob: 0.10
seed: 4
"""
START = datetime(2026, 3, 1, 14, tzinfo=UTC)
WINDOW = timedelta(minutes=20)
READINGS_PER_POLE = 3 * 1200
# Most readings of a message: three meters, five seconds, and as many late ones at worst.
MESSAGE_READINGS = 30
BATCH_READINGS = 20 * MESSAGE_READINGS
DISK_MB = 24
SPARE_KB = 64
WAITING_S = 5.0
MOST_GROWTH_MB = 40


class Volume:
    """A file system of `DISK_MB` that can be filled and made read-only.

    Args:
        folder: where it is mounted, for processes behind `inside`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mount = (
            f"mount -t tmpfs -o size={DISK_MB}m tmpfs '{folder}' && mkdir '{folder}/data' && "
            f"mount --bind '{folder}/data' '{folder}/data' && echo mounted && exec sleep 3600"
        )
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout
        assert self._holder.stderr
        if b"mounted" not in self._holder.stdout.readline():
            why = self._holder.stderr.read().decode().strip()
            self.close()
            pytest.skip(f"this machine mounts no file system in a namespace: {why}")

    @property
    def inside(self) -> tuple[str, ...]:
        """Command line in front of a command that shall see the volume."""
        pid = str(self._holder.pid)
        return ("nsenter", "--target", pid, "--user", "--mount", "--preserve-credentials")

    @property
    def seen_from_here(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    def break_it(self, trouble: str) -> None:
        if trouble == "read-only":
            self._remount("ro")
            return
        free = shutil.disk_usage(self.seen_from_here).free
        (self.seen_from_here / "filler").write_bytes(b"x" * (free - SPARE_KB * 1024))

    def mend(self, trouble: str) -> None:
        if trouble == "read-only":
            self._remount("rw")
        else:
            (self.seen_from_here / "filler").unlink()

    def _remount(self, mode: str) -> None:
        target = str(self.folder / "data")
        subprocess.run([*self.inside, "mount", "-o", f"remount,bind,{mode}", target], check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("unshare and nsenter (util-linux) are not installed")
    folder = tmp_path / "volume"
    folder.mkdir()
    found = Volume(folder)
    yield found
    found.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Pub/Sub with the messages of a JSON gateway."""
    with running(tmp_path) as found:
        found.start_pubsub()
        assert found.simulate(config("pole-1", "json"), START, WINDOW).wait(120) == 0
        yield found


def config(pole_id: str, payload: str) -> str:
    return CONFIG.format(pole_id=pole_id, payload=payload)


def start_ingest(platform: Platform, volume: Volume, *arguments: str) -> subprocess.Popen[bytes]:
    return platform.start(
        "ingest", *arguments, before=volume.inside, data_dir=volume.folder / "data"
    )


def lake(volume: Volume) -> DataDir:
    return DataDir(volume.seen_from_here / "data")


def assert_every_visible_file_is_whole(data: DataDir) -> None:
    for path in data.root.rglob("[!.]*.*"):
        if path.suffix == ".parquet":
            assert pq.read_table(path).num_rows
        elif path.suffix == ".arrow":
            assert pa.ipc.open_file(path).read_all().num_rows
        elif path.suffix == ".jsonl":
            content = path.read_bytes()
            assert content.endswith(b"\n")
            assert all(orjson.loads(line) for line in content.splitlines())


def assert_nothing_is_lost_or_doubled(
    volume: Volume, platform: Platform, *, poles: int, most_copies: int = 0
) -> None:
    ledger = balance(lake(volume), platform.data.truth)
    total = ledger.total
    assert ledger.problems == []
    assert total.expected == poles * READINGS_PER_POLE
    assert total.lost == total.declared_lost
    assert total.duplicates <= most_copies
    assert_every_visible_file_is_whole(lake(volume))
    assert not list(lake(volume).root.rglob(f"{TEMPORARY_PREFIX}*"))


def stored(volume: Volume) -> int:
    return balance(lake(volume)).total.stored


def rss_mb(process: subprocess.Popen[bytes]) -> float:
    return psutil.Process(process.pid).memory_info().rss / 2**20


@pytest.mark.parametrize(
    "trouble", ["full disk", pytest.param("read-only", marks=pytest.mark.slow)]
)
def test_the_ingest_waits_and_carries_on_by_itself(
    volume: Volume, platform: Platform, trouble: str
) -> None:
    volume.break_it(trouble)
    ingest = start_ingest(platform, volume)
    wait_until(lambda: "cannot write" in platform.log())
    before_mb, stored_before = rss_mb(ingest), stored(volume)
    # More than the bounds of a micro-batch arrives while it waits.
    assert platform.simulate(config("pole-2", "arrow"), START, WINDOW).wait(120) == 0
    time.sleep(WAITING_S)

    assert ingest.poll() is None
    assert rss_mb(ingest) - before_mb < MOST_GROWTH_MB
    assert stored(volume) <= stored_before + BATCH_READINGS
    assert_every_visible_file_is_whole(lake(volume))
    complaints = [line for line in platform.log().splitlines() if "cannot write" in line]
    assert 2 <= len(complaints) < 12
    reason = {"full disk": "No space left", "read-only": "Read-only file system"}[trouble]
    for line in complaints:
        assert re.search(rf"cannot write {volume.folder}/data/\S+: .*{reason}", line)
        assert "free space or mend the folder's permissions" in line
        assert "Nothing was acknowledged" in line

    volume.mend(trouble)
    wait_until(lambda: published(platform) == stored(volume))
    ingest.terminate()
    assert ingest.wait(20) == 0
    assert_nothing_is_lost_or_doubled(volume, platform, poles=2)


def published(platform: Platform) -> int:
    """Readings that both gateways sent, by their ground truth."""
    rows = [
        line.split(",")
        for path in platform.data.truth.glob("run-*/meters.csv")
        for line in path.read_text().splitlines()
    ]
    generated, dropped = rows[0].index("generated"), rows[0].index("dropped")
    return sum(int(row[generated]) - int(row[dropped]) for row in rows if row[0] != "meter_id")


@pytest.mark.parametrize(
    "trouble", ["full disk", pytest.param("read-only", marks=pytest.mark.slow)]
)
def test_a_drain_ends_with_one_clear_line_and_leaves_the_messages_in_pubsub(
    volume: Volume, platform: Platform, trouble: str
) -> None:
    volume.break_it(trouble)
    already = len(platform.log())
    status = start_ingest(platform, volume, "--drain", "2").wait(60)

    assert status == 1
    said = [line for line in platform.log()[already:].splitlines() if "ingest: " not in line]
    assert len(said) == 1
    assert f"cannot write {volume.folder}/data/" in said[0]
    assert backlog(platform) * MESSAGE_READINGS >= published(platform) - stored(volume)
    assert_every_visible_file_is_whole(lake(volume))

    volume.mend(trouble)
    assert start_ingest(platform, volume, "--drain", "2").wait(60) == 0
    # One file of the batch that failed may lie there already; compaction drops its copies.
    assert_nothing_is_lost_or_doubled(volume, platform, poles=1, most_copies=BATCH_READINGS)


def backlog(platform: Platform) -> int:
    """Messages that nobody has acknowledged and nobody holds; they are given back."""
    settings = Settings(pubsub_port=platform.port)
    source = PubSubSource(
        settings.project_id,
        settings.pubsub_topic,
        settings.pubsub_subscription,
        settings.emulator_host,
    )
    found = []
    while received := source.pull(1000, 1.0):
        found += [item.ack_id for item in received]
    source.release(found)
    source.close()
    return len(found)
