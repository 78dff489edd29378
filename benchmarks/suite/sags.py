"""Reads a lake of simulated readings; gives the cost of sag detection beside that of a plain scan.

What is timed is the compiled SQL of the models that only sags need, from readings to low runs, each
into a table, in DuckDB with the settings of `dbt_ami/profiles.yml`. The order of `seq` in epochs
and hours, which every mart needs, stands ready. Growth is measured in processes of its own:

    python -m benchmarks.suite.sags LAKE
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import duckdb

from ami_contract.lake import DataDir, hour_folder
from ami_store.lake import hours
from benchmarks.backlog import FLEET
from benchmarks.dbt_run import run_dbt
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Cost,
    Measurements,
    Metric,
    at_least,
    at_most,
    measured,
)
from benchmarks.peers.tutorial_sag import ISLANDS_SQL
from benchmarks.simulated_lake import FleetRun, compact_all, land_run, repeat_hours
from simulator.config import load_config

MODELS: Final = ("int_low_readings", "int_low_neighbours", "int_low_runs")
"""What only sags need, in the order of building."""

SCAN_SQL: Final = """
select meter_id, pole_id, seq, event_ts, voltage_v
from lake.compacted_readings
where voltage_v < 220
"""

_START: Final = datetime(2026, 3, 1, tzinfo=UTC)
_SIMULATED_HOURS: Final = 2
_HOURS: Final = 12
_GROWTH_HOURS: Final = (3, 28)
_SMALL: Final = timedelta(seconds=1000)
_QUICK_POLES: Final = 10
_REPEATS: Final = 3
_LONGEST_S: Final = 1800
_STATUS: Final = Path("/proc/self/status")
_MEMORY_BYTES: Final = 2_000_000_000
_SETTINGS: Final = {
    "memory_limit": "2GB",
    "threads": 2,
    "preserve_insertion_order": False,
}


def make_lake(data: DataDir, span: timedelta, count: int, *, poles: int | None) -> int:
    """Simulate `span` of the fleet of 1 000 meters, repeat its hours until there are `count`.

    The fleet's faults apply (0.1 % of the readings dropped, as many twice), and its sags: one of
    each pole every hour and 0.02 per meter-hour.

    Returns:
        Readings in the lake, without copies.
    """
    config = load_config(FLEET, {} if poles is None else {"poles": poles})
    land_run(data, FleetRun(config, _START, _START + span))
    compact_all(data)
    shutil.rmtree(data.landing)
    repeat_hours(data, count, 3_600_000 // config.sample_interval_ms)
    return sum(hour.manifest.rows for hour in hours(data))


def linked_lake(data: DataDir, source: DataDir, count: int) -> int:
    """A lake of the first `count` hours of `source`, without copying them; returns its readings."""
    shutil.copytree(source.registry.parent, data.registry.parent)
    chosen = list(hours(source))[:count]
    for hour in chosen:
        folder = data.readings / hour_folder(hour.start)
        shutil.copytree(source.readings / hour_folder(hour.start), folder, copy_function=os.link)
    return sum(hour.manifest.rows for hour in chosen)


def build_models(data: DataDir) -> None:
    """Run the models up to low runs with the real dbt; their compiled SQL stays in `target`.

    Raises:
        BenchmarkError: dbt failed; with its last lines.
    """
    run_dbt(data, "run", "--select", f"+{MODELS[-1]}")


def compiled_models(data: DataDir) -> dict[str, str]:
    """SQL of `MODELS` as dbt compiled it for this lake."""
    manifest = json.loads((data.root / "target" / "manifest.json").read_bytes())
    compiled = data.root / "target" / "compiled" / "ami"
    return {
        name: (compiled / manifest["nodes"][f"model.ami.{name}"]["original_file_path"]).read_text()
        for name in MODELS
    }


@contextmanager
def warehouse(data: DataDir) -> Iterator[duckdb.DuckDBPyConnection]:
    """The lake's warehouse, with the settings that dbt runs with."""
    config = _SETTINGS | {"temp_directory": str(data.root / "spill")}
    with duckdb.connect(str(data.warehouse), config=config) as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def make_table(con: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """Replace the table `name` by the rows of `query`."""
    con.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")


def detect(con: duckdb.DuckDBPyConnection, models: dict[str, str]) -> None:
    """Build the models of `compiled_models` anew."""
    for name, query in models.items():
        make_table(con, name, query)


def check_same_sags(con: duckdb.DuckDBPyConnection) -> None:
    """Raise BenchmarkError unless nearly all islands are low runs to the sample.

    Not all are: where samples are missing, an island goes on over any gap.
    """
    row = con.execute(
        """
        SELECT count(*), count(runs.meter_id)
        FROM islands
        LEFT JOIN int_low_runs AS runs USING (meter_id, start_ts, end_ts)
        """
    ).fetchone()
    assert row is not None
    islands, found = row
    if islands == 0 or found < 0.99 * islands:
        raise BenchmarkError(f"of {islands} sags that the tutorial finds, {found} are low runs")


def measure_ratios(context: Context) -> Measurements:
    """CPU time of detection over the scan's, and of the tutorial's over detection's.

    Raises:
        BenchmarkError: dbt failed, or the tutorial's sags are not the models'.
    """
    data = DataDir(context.work / "lake")
    span = timedelta(hours=_SIMULATED_HOURS)
    quick = context.quick
    make_lake(data, span, 3 if quick else _HOURS, poles=_QUICK_POLES if quick else None)
    build_models(data)
    models = compiled_models(data)
    with warehouse(data) as con:
        while True:
            scans: list[Cost] = []
            ours: list[Cost] = []
            for _ in range(_REPEATS):
                scans.append(measured(partial(make_table, con, "scanned", SCAN_SQL))[1])
                ours.append(measured(partial(detect, con, models))[1])
            _, theirs = measured(partial(make_table, con, "islands", ISLANDS_SQL))
            check_same_sags(con)
            scan_s, our_s = (min(cost.cpu_s for cost in costs) for costs in (scans, ours))
            yield {
                "sag.ratio_scan": our_s / scan_s,
                "sag.ratio_tutorial": theirs.cpu_s / our_s,
            }


def measure_growth(context: Context) -> Measurements:
    """Cost per reading of the largest lake over that of a tenth, fixed cost, and peak memory.

    Raises:
        BenchmarkError: dbt or a measurement failed.
    """
    quick = context.quick
    poles = _QUICK_POLES if quick else None
    some, most = (2, 4) if quick else _GROWTH_HOURS
    lakes = [DataDir(context.work / name) for name in ("small", "some", "most")]
    span = timedelta(hours=_SIMULATED_HOURS)
    readings = [
        make_lake(lakes[0], _SMALL, 1, poles=poles),
        0,
        make_lake(lakes[2], span, most, poles=poles),
    ]
    readings[1] = linked_lake(lakes[1], lakes[2], some)
    for data in lakes:
        build_models(data)
    while True:
        found = [_in_own_process(data) for data in lakes]
        small, medium, large = (f["cpu_s"] / n for f, n in zip(found, readings, strict=True))
        yield {
            "sag.growth.cost_ratio": large / medium,
            "sag.growth.fixed_ms": (small - large) * readings[0] * 1000,
            "sag.growth.memory_bytes": found[-1]["peak_bytes"],
        }


def _in_own_process(data: DataDir) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, str(data.root)]
    done = subprocess.run(command, capture_output=True, timeout=_LONGEST_S, check=False)
    if done.returncode:
        raise BenchmarkError(f"the detection failed: {done.stderr.decode()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def detect_once(data: DataDir) -> dict[str, Any]:
    """CPU time (s) of one detection, the least of some, and this process's peak memory (bytes)."""
    models = compiled_models(data)
    with warehouse(data) as con:
        costs = [measured(partial(detect, con, models))[1] for _ in range(_REPEATS)]
    # The peak of `getrusage` survives exec: it would be that of the process that simulated.
    [line] = [text for text in _STATUS.read_text().splitlines() if text.startswith("VmHWM")]
    peak_bytes = int(line.split()[1]) * 1024
    return {"cpu_s": min(cost.cpu_s for cost in costs), "peak_bytes": peak_bytes}


_LAKE: Final = (
    "43 million readings of 1 000 meters in 12 sorted, deduplicated hours (two simulated, ten "
    "copies of them)"
)

RATIOS: Final = Benchmark(
    (
        Metric(
            "sag.ratio_scan",
            "ratio",
            at_most(1.5),
            "CPU time of sag detection (the models that only sags need, from readings to low runs) "
            f"over that of a plain scan of its five columns with the same filter; {_LAKE}, DuckDB "
            "with 2 GB.",
        ),
        Metric(
            "sag.ratio_tutorial",
            "ratio",
            at_least(20),
            "CPU time of gaps-and-islands over all readings, as tutorials write it "
            "(`benchmarks/peers/tutorial_sag.py`), over that of sag detection on the same lake.",
        ),
    ),
    runs=3,
    measure=measure_ratios,
)

GROWTH: Final = Benchmark(
    (
        Metric(
            "sag.growth.cost_ratio",
            "ratio",
            at_most(1.1),
            "CPU time per reading of sag detection over 100 million readings over that over 11 "
            "million.",
        ),
        Metric(
            "sag.growth.fixed_ms",
            "ms",
            at_most(250),
            "CPU time that detection over 1 million readings takes beyond the same cost per "
            "reading: planning and opening files.",
        ),
        Metric(
            "sag.growth.memory_bytes",
            "bytes",
            at_most(_MEMORY_BYTES),
            "peak resident memory of the process that detects sags in 100 million readings.",
        ),
    ),
    runs=3,
    measure=measure_growth,
)

if __name__ == "__main__":
    print(json.dumps(detect_once(DataDir(Path(sys.argv[1])))))
