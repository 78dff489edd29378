"""schemathesis against the running service: whatever the schema allows or forbids, it answers so.

All checks are on. Some questions are well-formed and still refused, because their times end before
they begin or nobody has ever heard of their pole: such a refusal (404, 410, 422) is what a valid
question may expect.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from waiting import wait_until

from ami_cli.processes import free_port
from ami_contract.lake import DataDir

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key-for-the-fuzzer"
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["200", "304", "404", "410", "422"]
"""


@pytest.fixture(scope="module")
def service(small: DataDir, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running service over the small warehouse, behind a key."""
    port = free_port()
    log = tmp_path_factory.mktemp("service") / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AMI_DATA_DIR": str(small.root),
        "AMI_API_PORT": str(port),
        "AMI_API_KEYS": KEY,
        "AMI_API_REQUESTS_PER_S": "0",
        "AMI_API_ACCESS_LOG": "false",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", "api"],
            env=environment,
            stdout=out,
            stderr=out,
            cwd=log.parent,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), 30, lambda: log.read_text())
        yield url
        # Nothing failed unseen.
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def fuzz(url: str, folder: Path, *options: str) -> str:
    """Report of schemathesis; fails with it when a check does."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{url}/openapi.json", "--header", f"X-API-Key: {KEY}"),
            *("--checks", "all", "--seed", "7", "--no-color", *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"[1-9]\d* (generated|passed)", done.stdout), done.stdout
    return done.stdout


def test_the_service_keeps_its_schema(service: str, tmp_path: Path) -> None:
    fuzz(service, tmp_path, "--max-examples", "10")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_service_keeps_its_schema_for_long(service: str, tmp_path: Path) -> None:
    fuzz(service, tmp_path, "--max-examples", "300", "--workers", "2")
