"""Reads a lake whose newest hour is open; gives what the run that looks for sags takes.

A run is a process of its own, as the daemon starts it: definitions are loaded, the open hour is
compacted, dbt makes the events, the warehouse is published. Everything it starts counts.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from ami_cli.instance import instance_environment
from ami_cli.processes import ami_command
from ami_contract.lake import HOUR, DataDir, floor_hour
from ami_contract.settings import load_settings
from benchmarks import one_tick
from benchmarks.backlog import FLEET
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_most,
)
from benchmarks.processes import clean_environment, output_of
from benchmarks.simulated_lake import FleetRun, land_run
from simulator.config import load_config

_LANDED_BEFORE: Final = timedelta(minutes=40)
_INTERVAL: Final = timedelta(minutes=5)
_RUNS: Final = 3
_QUICK_POLES: Final = 10


def measure(context: Context) -> Measurements:
    """Cost of one tick after the other while the hour fills.

    Raises:
        BenchmarkError: a build or a tick failed; with its last lines.
    """
    config = load_config(FLEET, {"poles": _QUICK_POLES} if context.quick else {})
    data = DataDir(context.work / "lake")
    data.root.mkdir()
    hour = floor_hour(datetime.now(UTC)) - HOUR
    settings = load_settings().model_copy(update={"data_dir": data.root})
    environment = clean_environment(**instance_environment(settings))
    landed_until = hour + _LANDED_BEFORE
    land_run(data, FleetRun(config, hour - HOUR, landed_until))
    output_of(ami_command("build"), environment)
    while True:
        land_run(data, FleetRun(config, landed_until, landed_until + _INTERVAL))
        landed_until += _INTERVAL
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        command = [sys.executable, "-m", one_tick.__name__, hour.isoformat()]
        said = json.loads(output_of(command, environment).splitlines()[-1])
        wall_s = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if not said["success"]:
            raise BenchmarkError("the run failed; its log tells why")
        yield {
            "tick.sags.wall_s": wall_s,
            "tick.sags.cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "tick.definitions.cpu_s": said["definitions_cpu_s"],
        }


SAGS: Final = Benchmark(
    (
        Metric(
            "tick.sags.cpu_s",
            "s",
            at_most(20),
            "CPU time of a run of `detect_sags`, with all that it starts, over 1 000 meters at 1 "
            "Hz, with 45, 50 and 55 minutes of the open hour landed.",
        ),
        Metric(
            "tick.sags.wall_s",
            "s",
            at_most(30),
            "from starting that run's process to its end.",
        ),
        Metric(
            "tick.definitions.cpu_s",
            "s",
            at_most(5),
            "CPU time until Dagster's definitions are loaded in that process, imports included.",
        ),
    ),
    runs=_RUNS,
    measure=measure,
)
