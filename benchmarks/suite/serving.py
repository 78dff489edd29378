"""Reads a simulated fleet's 60 days; gives how fast the HTTP API answers, seen from its clients.

The server is `ami api` in a process of its own, asked over loopback. Requests are sent at the rate
that is meant whether or not the ones before are answered (open loop), and an answer's time counts
from when its request was due, so a stall shows in all requests that it holds up.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx
import numpy as np
import psutil
import pyarrow as pa

from ami_cli.processes import free_port
from ami_contract.lake import DataDir
from ami_store.registry import write_registry
from ami_store.warehouse import publish
from benchmarks.backlog import FLEET
from benchmarks.dbt_run import run_dbt
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_least,
    at_most,
)
from benchmarks.simulated_lake import FleetRun, compact_all, land_rows, stored_table
from simulator.config import load_config
from simulator.fleet import registry_table

START: Final = datetime(2026, 3, 1, tzinfo=UTC)
_POLES: Final = 20
_DAYS: Final = 60
_QUICK_DAYS: Final = 25
_ASKED_DAYS: Final = 30
_MEMORY_DAYS: Final = 10
_SATURDAY: Final = 5
_LEAST_LOOKS: Final = 10
_RATE_PER_S: Final = 310
_SECONDS: Final = 20
_PUBLISHED_EVERY_S: Final = 2.0
_LONGEST_S: Final = 1800
_STARTS_WITHIN_S: Final = 60
_CONNECTIONS: Final = 100
_MS: Final = 1000


@dataclass
class Answered:
    """What clients saw: how many answers of each status (or error), and their times (s)."""

    statuses: Counter[str] = field(default_factory=Counter)
    times_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def failed(self) -> int:
        """Requests without an answer 200."""
        return sum(self.statuses.values()) - self.statuses["200"]

    def p95_ms(self) -> float:
        """95th percentile of the answers' times (ms)."""
        return float(np.percentile(self.times_s, 95)) * _MS


Ask = Callable[[aiohttp.ClientSession, int], Any]
"""Sends the request with a number, gives the response to wait for."""


async def _asked(base: str, ask: Ask, rate_per_s: float, seconds: float) -> Answered:
    answered = Answered()
    # Not httpx: at this rate it takes most of a core itself, and more the more requests wait.
    async with aiohttp.ClientSession(
        base,
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=30),
    ) as client:

        async def one(number: int, due_s: float) -> None:
            try:
                async with ask(client, number) as response:
                    await response.read()
                    status = str(response.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                status = type(error).__name__
            answered.statuses[status] += 1
            answered.times_s.append(time.perf_counter() - due_s)

        begun_s = time.perf_counter()
        async with asyncio.TaskGroup() as sent:
            for number in range(round(rate_per_s * seconds)):
                due_s = begun_s + number / rate_per_s
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                sent.create_task(one(number, due_s))
        answered.elapsed_s = time.perf_counter() - begun_s
    return answered


def open_loop(base: str, ask: Ask, rate_per_s: float, seconds: float) -> Answered:
    """Send `rate_per_s` requests per second for `seconds`, whatever becomes of them."""
    return asyncio.run(_asked(base, ask, rate_per_s, seconds))


def prepare(data: DataDir, days: int) -> list[str]:
    """Simulate `days` of readings every 5 minutes, build and publish; names of the poles.

    Raises:
        BenchmarkError: dbt failed; with its last lines.
    """
    overrides = {"poles": _POLES, "meters": 5, "sample_hz": 1 / 300, "batch_interval_s": 900}
    config = load_config(FLEET, overrides)
    for day in range(days):
        begins = START + timedelta(days=day)
        run = FleetRun(config, begins, begins + timedelta(days=1))
        rows = pa.concat_tables([stored_table(arrived) for arrived in run.arrivals()])
        land_rows(data, f"day-{day:03d}", rows)
    write_registry(data.registry, registry_table(config))
    compact_all(data)
    run_dbt(data, "build", "--resource-type", "model", "--resource-type", "seed")
    publish(data)
    return [meters.pole.pole_id for meters in run.poles]


@contextmanager
def served(data: DataDir) -> Iterator[tuple[str, psutil.Process]]:
    """`ami api` over `data`: its address and process.

    Raises:
        BenchmarkError: it does not answer.
    """
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AMI_")}
    settings = {
        "AMI_DATA_DIR": str(data.root),
        "AMI_API_PORT": str(port),
        "AMI_API_REQUESTS_PER_S": "100000",
        "AMI_API_ACCESS_LOG": "false",
    }
    base = f"http://127.0.0.1:{port}"
    with (data.root / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ami_cli.main", "api"],
            env=kept | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(base, process)
            yield base, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(base: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            if httpx.get(f"{base}/poles").status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise BenchmarkError(
                f"ami api does not answer at {base}; see api.log in the work folder"
            )
        time.sleep(0.02)


def summaries(poles: Sequence[str], start: datetime, end: datetime) -> Ask:
    """Asks for the summary of one pole after the other, always over the same span."""
    span = {"start": start.isoformat(), "end": end.isoformat()}

    def ask(client: aiohttp.ClientSession, number: int) -> Any:
        return client.get(f"/pole/{poles[number % len(poles)]}/summary", params=span)

    return ask


def windows(poles: Sequence[str], end: datetime) -> Ask:
    """Asks for windows of two hours of the last working days, of one pole, each only once.

    Of days at weekends some poles have too few to compare with.
    """
    days = [end - timedelta(days=back) for back in range(1, 8)]
    days = [day for day in days if day.weekday() < _SATURDAY]

    def ask(client: aiohttp.ClientSession, number: int) -> Any:
        later = timedelta(minutes=5 * (number // len(poles) % 60))
        begins = days[number % len(days)] + timedelta(hours=12) + later
        body = {
            "start": begins.isoformat(),
            "end": (begins + timedelta(hours=2)).isoformat(),
            "pole_ids": [poles[number % len(poles)]],
        }
        return client.post("/dr/compute", json=body)

    return ask


@contextmanager
def published_often(data: DataDir, seconds: float) -> Iterator[None]:
    """Publish every two seconds, in another process, for as long; waits for its end."""
    publishing = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", __name__, str(data.root), str(seconds)],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
        publishing.wait(_LONGEST_S)
    finally:
        publishing.terminate()
        publishing.wait(30)


@contextmanager
def memory_of(process: psutil.Process) -> Iterator[list[tuple[float, int]]]:
    """Resident memory of a process every second: (s since the begin, bytes), as it grows."""
    seen: list[tuple[float, int]] = []
    ended = threading.Event()

    def look() -> None:
        begun_s = time.monotonic()
        while not ended.wait(1.0):
            seen.append((time.monotonic() - begun_s, process.memory_info().rss))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield seen
    finally:
        ended.set()
        looking.join()


def growth_mb(seen: Sequence[tuple[float, int]], settled_s: float, span_s: float) -> float:
    """Growth over `span_s` by the line through the memory seen from `settled_s` on (MB).

    Raises:
        BenchmarkError: too little was seen to tell.
    """
    settled = [(at_s, held) for at_s, held in seen if at_s >= settled_s]
    if len(settled) < _LEAST_LOOKS:
        raise BenchmarkError(f"memory was seen {len(settled)} times only")
    times_s, held = np.array(settled, dtype=float).T
    return float(np.polyfit(times_s, held, 1)[0]) * span_s / 1e6


def measure_memory(context: Context) -> Measurements:
    """Growth of the server's memory under load while snapshots are swapped.

    Raises:
        BenchmarkError: dbt failed, the server does not answer, or a request failed.
    """
    settled_s, seconds = (20, 60) if context.quick else (60, 660)
    data = DataDir(context.work / "data")
    poles = prepare(data, _MEMORY_DAYS)
    end = START + timedelta(days=_MEMORY_DAYS - 1)
    ask = summaries(poles, end - timedelta(days=_MEMORY_DAYS - 2), end)
    while True:
        with (
            served(data) as (base, server),
            published_often(data, seconds),
            memory_of(server) as seen,
        ):
            answered = open_loop(base, ask, _RATE_PER_S, seconds)
        if answered.failed:
            raise BenchmarkError(f"while snapshots were swapped: {dict(answered.statuses)}")
        yield {"api.memory_growth_mb_10min": growth_mb(seen, settled_s, 600)}


def measure(context: Context) -> Measurements:
    """Summaries kept and not kept, windows of demand response, and publications amid requests.

    Raises:
        BenchmarkError: dbt failed, the server does not answer, or it refuses what it should answer.
    """
    days = _QUICK_DAYS if context.quick else _DAYS
    seconds = 3 if context.quick else _SECONDS
    data = DataDir(context.work / "data")
    poles = prepare(data, days)
    end = START + timedelta(days=days - 1)
    start = end - timedelta(days=min(_ASKED_DAYS, days - 2))

    summary, window = summaries(poles, start, end), windows(poles, end)

    def other_summary(client: aiohttp.ClientSession, number: int) -> Any:
        later = timedelta(seconds=number + 1)
        return summaries(poles, start + later, end + later)(client, number)

    with served(data) as (base, server):
        while True:
            kept = open_loop(base, summary, _RATE_PER_S, seconds)
            not_kept = open_loop(base, other_summary, 20, seconds)
            computed = open_loop(base, window, 3, seconds)
            with published_often(data, seconds):
                amid = open_loop(base, summary, _RATE_PER_S / 3, seconds)
            for name, answered in (
                ("summary", kept), ("other summary", not_kept), ("window", computed)
            ):  # fmt: skip
                if answered.failed:
                    raise BenchmarkError(f"{name}: {dict(answered.statuses)}")
            yield {
                "api.summary.p95_ms": kept.p95_ms(),
                "api.summary.requests_per_s": kept.statuses["200"] / kept.elapsed_s,
                "api.summary_not_kept.p95_ms": not_kept.p95_ms(),
                "api.dr_compute.p95_ms": computed.p95_ms(),
                "api.publications.failed_requests": amid.failed,
                "api.memory_bytes": server.memory_info().rss,
            }


def publish_again_and_again(data: DataDir, seconds: float) -> None:
    """Publish every two seconds for as long."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        due_s = time.monotonic() + _PUBLISHED_EVERY_S
        publish(data)
        time.sleep(max(0.0, due_s - time.monotonic()))


_LAKE: Final = f"{_POLES} poles of 5 meters, readings every 5 minutes over {_DAYS} days"

API: Final = Benchmark(
    (
        Metric(
            "api.summary.p95_ms",
            "ms",
            at_most(50),
            "answer time of a pole's summary over 30 days of 5-minute data at 310 requests/s "
            f"(open loop), 95th percentile; kept per snapshot; {_LAKE}.",
        ),
        Metric(
            "api.summary.requests_per_s",
            "requests/s",
            at_least(300),
            "rate of such requests that is answered, of 310 sent per second.",
        ),
        Metric(
            "api.summary_not_kept.p95_ms",
            "ms",
            at_most(150),
            "the same over spans that nobody asked before, at 20 requests/s.",
        ),
        Metric(
            "api.dr_compute.p95_ms",
            "ms",
            at_most(300),
            "answer time of a demand-response window of two hours that nobody asked before, of one "
            "pole, at 3 requests/s.",
        ),
        Metric(
            "api.publications.failed_requests",
            "requests",
            at_most(0),
            "requests that fail at 100 per second while a snapshot is published every 2 s.",
        ),
        Metric(
            "api.memory_bytes",
            "bytes",
            at_most(700_000_000),
            "resident memory of the server after all of this.",
        ),
    ),
    runs=3,
    measure=measure,
)

MEMORY: Final = Benchmark(
    (
        Metric(
            "api.memory_growth_mb_10min",
            "MB",
            at_most(20),
            "growth of the server's resident memory over ten minutes of 310 summaries/s while a "
            "snapshot is published every 2 s: slope of a line through a look per second, after a "
            f"minute to settle; {_POLES} poles of 5 meters over {_MEMORY_DAYS} days. Fails when a "
            "request fails.",
        ),
    ),
    runs=1,
    measure=measure_memory,
)

if __name__ == "__main__":
    publish_again_and_again(DataDir(Path(sys.argv[1])), float(sys.argv[2]))
