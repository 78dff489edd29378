"""Reads a lake of simulated readings; gives the cost of sag detection beside that of a plain scan.

What is timed is the compiled SQL of the models that only sags need, from readings to low runs, each
into a table, in DuckDB with the settings of `dbt_ami/profiles.yml`. The order of `seq` in epochs
and hours, which every mart needs, stands ready. Growth, and what a user would pick instead, are
measured in processes of their own.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

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
from benchmarks.peers import sags as peer_sags
from benchmarks.peers.tutorial_sag import ISLANDS_SQL
from benchmarks.processes import in_own_process, peer
from benchmarks.simulated_lake import FleetRun, compact_all, land_run, repeat_hours
from benchmarks.suite.growth import growth_id, growth_metrics
from benchmarks.tasks import detect_sags
from benchmarks.tasks.detect_sags import MODELS, compiled_models, detect, make_table, warehouse
from simulator.config import load_config

SCAN_SQL: Final = """
select meter_id, pole_id, seq, event_ts, voltage_v
from lake.compacted_readings
where voltage_v < 220
"""

_START: Final = datetime(2026, 3, 1, tzinfo=UTC)
_SIMULATED_HOURS: Final = 2
_HOURS: Final = 12
_GROWTH_HOURS: Final = (3, 28)
_METERS: Final = 1000
_SIZES: Final = tuple(10**n for n in range(4, 9))
_PEERS_UP_TO: Final = 10**7
_QUICK_POLES: Final = 10
_REPEATS: Final = 3
_MEMORY_BYTES: Final = 2_000_000_000


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


def growth_lakes(work: Path, *, quick: bool) -> dict[int, tuple[DataDir, int]]:
    """Lakes of about so many readings (powers of ten), with how many they hold exactly.

    When `quick` the three largest only, with a tenth of the meters and fewer hours.
    """
    poles = _QUICK_POLES if quick else None
    some, most = (2, 4) if quick else _GROWTH_HOURS
    found = {}
    for size in _SIZES[2:3] if quick else _SIZES[:3]:
        data = DataDir(work / str(size))
        span = timedelta(seconds=size / _METERS)
        found[size] = (data, make_lake(data, span, 1, poles=poles))
    medium, large = (DataDir(work / str(size)) for size in _SIZES[3:])
    readings = make_lake(large, timedelta(hours=_SIMULATED_HOURS), most, poles=poles)
    found[_SIZES[3]] = (medium, linked_lake(medium, large, some))
    found[_SIZES[4]] = (large, readings)
    return found


def measure_growth(context: Context) -> Measurements:
    """Cost by size of the lake, ours and of peers up to ten million readings; growth and memory.

    Raises:
        BenchmarkError: dbt or a measurement failed, or a peer found other events.
    """
    lakes = growth_lakes(context.work, quick=context.quick)
    for data, _ in lakes.values():
        build_models(data)
    theirs = context.work / "theirs.parquet"
    while True:
        ours = {
            size: in_own_process(detect_sags.__name__, data.root)
            for size, (data, _) in lakes.items()
        }
        found = _points("sag", ours)
        for engine in peer_sags.ENGINES:
            costs = {}
            for size in (size for size in lakes if size <= _PEERS_UP_TO):
                data = lakes[size][0]
                files = data.readings / "*/*/readings-*.parquet"
                repeats = _REPEATS if size < _PEERS_UP_TO else 1
                costs[size] = peer(peer_sags.__name__, engine, files, theirs, repeats)
                check_same_events(engine, theirs, data)
            found |= _points(f"sag_{engine}", costs)
            found[f"sag.ratio_{engine}"] = (
                costs[_PEERS_UP_TO]["cpu_s"] / ours[_PEERS_UP_TO]["cpu_s"]
            )
        small, medium, large = (ours[size]["cpu_s"] / lakes[size][1] for size in _SIZES[2:])
        if context.quick:  # the lakes are smaller than the points' ids say
            found = {name: value for name, value in found.items() if name.startswith("sag.")}
        yield found | {
            "sag.growth.cost_ratio": large / medium,
            "sag.growth.fixed_ms": (small - large) * lakes[_SIZES[2]][1] * 1000,
            "sag.growth.memory_bytes": ours[_SIZES[-1]]["memory_bytes"],
        }


def _points(curve: str, costs: dict[int, dict[str, float]]) -> dict[str, float]:
    return {
        growth_id(curve, size, quantity): value
        for size, cost in costs.items()
        for quantity, value in cost.items()
    }


def check_same_events(engine: str, theirs: Path, data: DataDir) -> None:
    """Raise BenchmarkError unless a peer's events are the platform's low runs of 5 s and more."""
    columns = "meter_id, pole_id, first_seq, last_seq, start_ts, end_ts, sample_count"
    with warehouse(data) as con:
        con.execute(
            f"""
            CREATE TEMP TABLE ours AS
            SELECT {columns}, min_voltage_v FROM int_low_runs
            WHERE last_seq - first_seq + 1 >= 5 AND sample_count >= 2
            """
        )
        con.execute(f"CREATE TEMP TABLE theirs AS SELECT {columns}, min_voltage_v FROM '{theirs}'")
        row = con.execute(
            """
            SELECT
                (SELECT count(*) FROM ours),
                (SELECT count(*) FROM theirs),
                (SELECT count(*) FROM (FROM ours EXCEPT ALL FROM theirs))
            """
        ).fetchone()
    assert row is not None
    if row[0] != row[1] or row[2]:
        raise BenchmarkError(
            f"{engine} finds {row[1]} events of {row[0]}; {row[2]} of ours are not among them"
        )


_LAKE: Final = (
    "43 million readings of 1 000 meters in 12 sorted, deduplicated hours (two simulated, ten "
    "copies of them)"
)

_ENGINES: Final = {
    "duckdb": "DuckDB alone, `lag` over all readings",
    "clickhouse": "ClickHouse (chDB), `lagInFrame` over all readings",
    "polars": "Polars, `shift` over all readings, streaming engine",
    "pandas": "pandas, `shift` over all readings",
}

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
        *(
            Metric(
                f"sag.ratio_{engine}",
                "ratio",
                at_least(1),
                f"CPU time of {what} (`benchmarks/peers/sags.py`) over that of sag detection on "
                "the same 11 million readings; the events are the same.",
            )
            for engine, what in _ENGINES.items()
        ),
        *growth_metrics("sag", _SIZES, "sag detection (1e7: 11 million; hour files)."),
        *(
            metric
            for engine, what in _ENGINES.items()
            for metric in growth_metrics(
                f"sag_{engine}",
                [size for size in _SIZES if size <= _PEERS_UP_TO],
                f"the same events by {what}.",
            )
        ),
    ),
    runs=2,
    measure=measure_growth,
)
