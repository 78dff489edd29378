"""Reads an hour of the fleet's readings; gives what the health of its poles costs.

What is timed is the compiled SQL of `pole_health_hourly` and of everything it is made of, from the
compacted readings on, in DuckDB with the settings of dbt, in a process of its own.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from benchmarks.dbt_run import run_dbt
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_most,
)
from benchmarks.processes import in_own_process, peer, side_metrics
from benchmarks.suite.sags import make_lake
from benchmarks.tasks import compute_health
from benchmarks.tasks.compute_health import MODEL
from benchmarks.tasks.detect_sags import warehouse

_PEER: Final = "benchmarks.peers.tutorial_health"
_QUICK_POLES: Final = 10
_REPEATS: Final = 2
_SAME: Final = (
    "received", "pct_low", "min_voltage_v", "mean_voltage_v", "max_voltage_v", "energy_kwh",
    "peak_kw", "share_out_of_limits", "meters_with_event", "missing_rate", "loading", "score",
)  # fmt: skip
_CLOSE: Final = 1e-6


def check_same_health(theirs: Path, data: DataDir) -> None:
    """Raise BenchmarkError unless the notebook gives every pole the same figures."""
    differs = " OR ".join(
        f"abs(ours.{name} - theirs.{name}) > {_CLOSE} * greatest(1, abs(ours.{name})) "
        f"OR (ours.{name} IS NULL) != (theirs.{name} IS NULL)"
        for name in _SAME
    )
    with warehouse(data) as con:
        row = con.execute(
            f"SELECT count(*), count(*) FILTER (ours.pole_id IS NULL OR theirs.pole_id IS NULL "
            f"OR {differs}) FROM {MODEL} AS ours "
            f"FULL JOIN '{theirs}' AS theirs USING (pole_id, hour_ts)"
        ).fetchone()
    assert row is not None
    if row[0] == 0 or row[1]:
        raise BenchmarkError(f"of {row[0]} poles {row[1]} have other figures in the notebook")


def measure(context: Context) -> Measurements:
    """Cost of an hour's health, ours and the notebook's.

    Raises:
        BenchmarkError: dbt or a process failed, or the notebook's figures differ.
    """
    data = DataDir(context.work / "lake")
    make_lake(data, timedelta(hours=1), 1, poles=_QUICK_POLES if context.quick else None)
    run_dbt(data, "run", "--select", f"+{MODEL}")
    theirs = context.work / "theirs.parquet"
    while True:
        ours = in_own_process(compute_health.__name__, data.root, _REPEATS)
        notebook = peer(_PEER, data.readings, data.registry, theirs, _REPEATS)
        check_same_health(theirs, data)
        yield {
            **{f"health.hour.{quantity}": value for quantity, value in ours.items()},
            **{f"health.pandas.{quantity}": value for quantity, value in notebook.items()},
            "health.ratio_pandas": notebook["cpu_s"] / ours["cpu_s"],
        }


_SIDES: Final = {
    "hour": "health of 100 poles over an hour of 3.6 million readings at 1 Hz: "
    f"`{MODEL}` and all models below it, voltage events and data quality among them",
    "pandas": "score, its parts and what stands beside it for the same hour as a notebook computes "
    "it (`benchmarks/peers/tutorial_health.py`), the figures being the same",
}
_TARGETS: Final = {"hour.wall_s": at_most(30), "hour.memory_bytes": at_most(2e9)}

HOUR: Final = Benchmark(
    (
        *side_metrics("health", _SIDES, _REPEATS, _TARGETS),
        Metric(
            "health.ratio_pandas",
            "ratio",
            None,
            "CPU time of `health.pandas` over that of `health.hour`, which computes more.",
        ),
    ),
    runs=2,
    measure=measure,
)
