"""`ami up` as a child process: its parts, to be killed, and its UI, to be asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ami_cli.processes import free_port
from ami_contract.lake import DataDir

PARTS = {
    "code-server": "api grpc",
    "webserver": "dagster-webserver",
    "daemon": "dagster-daemon run",
    "pubsub": "ami_cli.main pubsub",
    "ingest": "ami_cli.main ingest",
    "api": "ami_cli.main api",
    "dashboard": "-m ami_dashboard",
}
_LOADED = """{ workspaceOrError { ... on Workspace {
  locationEntries { locationOrLoadError { __typename } } } } }"""


@dataclass
class LivePlatform:
    """A running `ami up`."""

    process: subprocess.Popen[bytes]
    data: DataDir
    log: Path
    url: str

    def wait(self, ready: Callable[[], object], seconds: float = 60) -> None:
        """Wait for what happens within `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def pid(self, part: str) -> int | None:
        """Process id of a part, None while it does not run."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if PARTS[part] in " ".join(child.cmdline()) and child.status() != "zombie":
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def kill(self, part: str) -> None:
        """kill -9 a part and wait until another process does its work."""
        before = self.pid(part)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        self.wait(lambda: self.pid(part) not in (None, before))

    def ask(self, query: str, **variables: object) -> Any:
        """Answer of the UI's GraphQL; None while it does not answer."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.load(response)["data"]
        except (urllib.error.URLError, OSError):
            return None

    def is_loaded(self) -> bool:
        """Whether the UI shows the definitions."""
        return "RepositoryLocation" in json.dumps(self.ask(_LOADED))


@contextmanager
def live(folder: Path, settings: dict[str, str] | None = None) -> Iterator[LivePlatform]:
    """`ami up` over `folder/data`, stopped at the end; `settings` are further variables."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AMI_")},
        "AMI_DATA_DIR": str(folder / "data"),
        "AMI_PUBSUB_PORT": str(free_port()),
        "AMI_DAGSTER_PORT": str(port),
        "AMI_CODE_SERVER_PORT": str(free_port()),
        "AMI_API_PORT": str(free_port()),
        "AMI_DASHBOARD_PORT": str(free_port()),
        **(settings or {}),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", "up"],
            env=environment,
            stdout=output,
            stderr=output,
        )
        running = LivePlatform(process, DataDir(folder / "data"), log, f"http://127.0.0.1:{port}")
        try:
            running.wait(lambda: "stop with Ctrl-C" in log.read_text(), 120)
            running.wait(running.is_loaded)
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
