"""`ami query` asks a running service and prints what it says."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from small_warehouse import publish_small
from waiting import wait_until

from ami_cli.processes import free_port
from ami_contract.lake import DataDir

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key-of-the-shell"
WINDOW = ("--from", "2026-03-02", "--to", "2026-03-03")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of commands beside a running service."""
    folder = tmp_path_factory.mktemp("asking")
    data = DataDir(folder / "data")
    publish_small(data)
    port = free_port()
    found = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AMI_")},
        "PYTHONPATH": str(ROOT),
        "AMI_DATA_DIR": str(data.root),
        "AMI_API_PORT": str(port),
        "AMI_API_KEYS": KEY,
        "AMI_API_LIVE_TAIL_S": "0",
    }
    log = folder / "log"
    with log.open("wb") as out:
        service = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", "api"],
            env=found, stdout=out, stderr=out, cwd=folder,
        )  # fmt: skip

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, 30, lambda: log.read_text())
        yield found
    finally:
        service.terminate()
        assert service.wait(timeout=20) in (0, -15)
    # Keys stand in no log.
    assert KEY not in log.read_text()
    assert "GET '/poles' 200" in log.read_text()


def ask(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ami query` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "ami_cli.main", "query", *arguments],
        env=environment,
        cwd=environment["AMI_DATA_DIR"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_table_a_csv_and_a_json_say_the_same(environment: dict[str, str]) -> None:
    table = ask(environment, "poles")
    rows = list(csv.DictReader(io.StringIO(ask(environment, "poles", "--format", "csv").stdout)))
    found = json.loads(ask(environment, "poles", "--format", "json").stdout)["poles"]

    assert table.returncode == 0, table.stderr
    assert "p1" in table.stdout
    assert "(3 rows)" in table.stderr
    assert [row["pole_id"] for row in rows] == [pole["pole_id"] for pole in found]


def test_every_page_is_followed_on_request(environment: dict[str, str]) -> None:
    done = ask(environment, "anomalies", *("--from", "2026-03-01", "--to", "2026-03-04"),
               "--limit", "2", "--all", "--format", "csv")  # fmt: skip

    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pole", "p1", *WINDOW), "power.peak_kw"),
        (("timeseries", "p1", *WINDOW, "--resolution", "1h"), "(24 rows)"),
        (("quality", "m1", *WINDOW), "(24 rows)"),
        (("dr", "--from", "2026-03-03T16:00", "--to", "2026-03-03T18:00"), "shed_kw"),
        (("dr-events",), "heat-2"),
        (("freshness",), "is_fresh"),
    ],
)
def test_every_question_has_a_command(
    environment: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    done = ask(environment, *arguments)

    assert done.returncode == 0, done.stderr
    assert says in done.stdout + done.stderr


def test_refusals_and_silence_are_told_in_one_line(environment: dict[str, str]) -> None:
    refused = ask(environment, "pole", "p9")
    assert refused.returncode == 2
    assert "Unknown pole" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1

    locked = ask({**environment, "AMI_API_KEYS": ""}, "poles")
    assert locked.returncode == 2
    assert "X-API-Key" in locked.stderr

    silent = ask(environment, "poles", "--url", f"http://127.0.0.1:{free_port()}")
    assert silent.returncode == 1
    assert "`ami up`" in silent.stderr


def test_the_service_is_not_opened_to_others_without_a_key(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ami_cli.main", "api", "--host", "0.0.0.0"],
        env={**environment, "AMI_API_KEYS": ""},
        cwd=environment["AMI_DATA_DIR"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 2
    assert "AMI_API_KEYS" in done.stderr
