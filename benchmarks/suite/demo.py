"""Reads the repository; gives the wall time of `ami demo --check`, the whole way in one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.definition import Benchmark, BenchmarkError, Context, Measurements, Metric, at_most

WALL_ID: Final = "demo.check.wall_s"
_LONGEST_S: Final = 600
_LONGEST_STOP_S: Final = 60
_LAST_LINES: Final = 5


def measure(context: Context) -> Measurements:
    """Wall time of one check after the other.

    Raises:
        BenchmarkError: the check failed or did not end; with its last lines.
    """
    command = [sys.executable, "-m", "ami_cli.main", "demo", "--check"]
    log = context.work / "check.log"
    while True:
        begun = time.perf_counter()
        status = run_logged(command, log, longest_s=_LONGEST_S)
        wall_s = time.perf_counter() - begun
        if status != 0:
            raise BenchmarkError(f"demo --check ended with status {status}: {_end_of(log)}")
        yield {WALL_ID: wall_s}


def run_logged(command: list[str], log: Path, *, longest_s: float) -> int:
    """Run `command` without the caller's `AMI_` variables, its output in `log`.

    Returns:
        Its exit status.

    Raises:
        BenchmarkError: it took longer than `longest_s` and was stopped.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AMI_", "PUBSUB_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            return process.wait(longest_s)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(
                f"{' '.join(command)} did not end within {longest_s:.0f} s: {_end_of(log)}"
            ) from error
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs; an interrupt lets it stop its own children."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_LONGEST_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(line.strip() for line in lines[-_LAST_LINES:] if line.strip())


CHECK: Final = Benchmark(
    (
        Metric(
            WALL_ID,
            "s",
            at_most(120),
            "wall time of `ami demo --check`: Pub/Sub, 40 simulated minutes and 20 live seconds "
            "of 20 meters, ingest, Dagster build, UI and ledger, in a new folder; packages are "
            "on disk.",
        ),
    ),
    runs=3,
    measure=measure,
)
