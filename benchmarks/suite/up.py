"""Reads an empty data folder; gives what `ami up` takes until its UI has all definitions."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import httpx
import psutil

from ami_cli.processes import ami_command, free_port
from benchmarks.definition import Benchmark, BenchmarkError, Context, Measurements, Metric, at_most

_PORTS: Final = (
    "AMI_PUBSUB_PORT",
    "AMI_DAGSTER_PORT",
    "AMI_CODE_SERVER_PORT",
    "AMI_API_PORT",
    "AMI_DASHBOARD_PORT",
)
_LONGEST_S: Final = 600.0
_LOADED: Final = {
    "query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
}


def measure(context: Context) -> Measurements:
    """Time, CPU time and memory of one start after the other; the first one makes the manifest.

    Raises:
        BenchmarkError: the platform does not come up.
    """
    start(context.work)
    while True:
        yield start(context.work)


def start(work: Path) -> dict[str, float]:
    """Start the platform in `work`, wait for its definitions, stop it."""
    ports = {name: str(free_port()) for name in _PORTS}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AMI_", "PUBSUB_"))}
    log = work / "up.log"
    begun_s = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ami_command("up"),
            env=kept | ports | {"AMI_DATA_DIR": str(work / "data")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while not has_definitions(f"http://127.0.0.1:{ports['AMI_DAGSTER_PORT']}/graphql"):
            if process.poll() is not None or time.monotonic() > begun_s + _LONGEST_S:
                raise BenchmarkError(f"ami up does not come up: {log.read_text()[-500:]}")
            time.sleep(0.05)
        wall_s = time.monotonic() - begun_s
        parent = psutil.Process(process.pid)
        return {
            "up.start.wall_s": wall_s,
            **held_by([parent, *parent.children(recursive=True)]),
        }
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def has_definitions(address: str) -> bool:
    """Whether the UI knows the platform's definitions."""
    try:
        found = httpx.post(address, json=_LOADED, timeout=10).json()
        return bool(found["data"]["repositoriesOrError"].get("nodes"))
    except (httpx.HTTPError, ValueError):
        return False


def held_by(processes: Iterable[psutil.Process]) -> dict[str, float]:
    """CPU time (s) and proportional memory (bytes) of processes; what they share counts once."""
    cpu_s, memory_bytes = 0.0, 0
    for process in processes:
        try:
            times = process.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
            memory_bytes += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return {"up.start.cpu_s": cpu_s, "up.start.memory_bytes": memory_bytes}


START: Final = Benchmark(
    (
        Metric(
            "up.start.wall_s",
            "s",
            at_most(20),
            "from the command `ami up` until the UI knows all definitions: Pub/Sub, ingest, API, "
            "dashboard and Dagster start; dbt's manifest is there from an earlier start.",
        ),
        Metric("up.start.cpu_s", "s", None, "CPU time of all its processes until then."),
        Metric(
            "up.start.memory_bytes",
            "bytes",
            at_most(1.5e9),
            "memory of all its processes then; what they share counts once.",
        ),
    ),
    runs=3,
    measure=measure,
)
