"""Low-voltage events by what a user would pick instead: reads hour files, gives events as Parquet.

    python -m benchmarks.peers.sags ENGINE FILES_GLOB TARGET REPEATS

One pattern in four engines, the usual one for runs of consecutive rows that tolerates gaps: look at
the row before (lag, shift), start a new run where it does not belong to the same, number the runs
by a running sum, aggregate. It asks no less than the platform does: a run goes on over up to five
readings that did not come, never over one that came and was not low, and an event is five seconds
long and has two readings. Threshold and sample interval are constants here; epochs of `seq`, clocks
that jump, scopes and severities are left out.

Patterns: <https://openillumi.com/en/en-sql-gaps-islands-lag-cumulative-count> (SQL),
<https://clickhouse.com/docs/reference/functions/window-functions/lagInFrame>,
<https://calmcode.io/polars/sessionize.html>,
<https://sqlpey.com/python/pandas-grouping-consecutive-values>.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.peers.cost import tell_of_one

COLUMNS: Final = ["meter_id", "pole_id", "seq", "event_ts", "voltage_v"]
LOW_V: Final = 220
MAX_STEP: Final = 6
MIN_S: Final = 5
MIN_READINGS: Final = 2

# {lag}, {readings}, {over}: what differs between the dialects.
_SQL: Final = f"""
with stepped as (
    select
        {", ".join(COLUMNS)},
        voltage_v < {LOW_V} as is_low,
        {{lag}}(voltage_v < {LOW_V}, 1, false) over {{over}} as was_low,
        seq - {{lag}}(seq, 1, -{MAX_STEP + 1}) over {{over}} as seq_step
    from {{readings}}
),

numbered as (
    select
        *,
        sum(case when was_low and seq_step <= {MAX_STEP} then 0 else 1 end)
            over (partition by meter_id order by seq rows unbounded preceding) as run_number
    from stepped
    where is_low
)

select
    meter_id,
    min(pole_id) as pole_id,
    min(seq) as first_seq,
    max(seq) as last_seq,
    min(event_ts) as start_ts,
    max(event_ts) as end_ts,
    count(*) as sample_count,
    min(voltage_v) as min_voltage_v,
    avg(voltage_v) as mean_voltage_v
from numbered
group by meter_id, run_number
having max(seq) - min(seq) + 1 >= {MIN_S} and count(*) >= {MIN_READINGS}
"""


def duckdb_sags(files: str, target: str) -> None:
    """DuckDB: window functions over `read_parquet`."""
    import duckdb

    query = _SQL.format(
        lag="lag", over="(partition by meter_id order by seq)", readings=f"'{files}'"
    )
    with duckdb.connect(config={"memory_limit": "2GB", "threads": 2}) as con:
        con.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")


def clickhouse_sags(files: str, target: str) -> None:
    """ClickHouse, in this process by chDB: window functions over the table function `file`."""
    import chdb

    over = (
        "(partition by meter_id order by seq "
        "rows between unbounded preceding and unbounded following)"
    )
    query = _SQL.format(lag="lagInFrame", over=over, readings=f"file('{files}', Parquet)")
    Path(target).unlink(missing_ok=True)
    chdb.query(f"insert into function file('{target}', Parquet) {query}")


def polars_sags(files: str, target: str) -> None:
    """Polars: a lazy scan, `shift` and `cum_sum`, with the streaming engine."""
    import polars as pl

    same_meter = pl.col("meter_id") == pl.col("meter_id").shift()
    goes_on = (
        same_meter & pl.col("is_low").shift() & (pl.col("seq") - pl.col("seq").shift() <= MAX_STEP)
    ).fill_null(value=False)
    events = (
        pl.scan_parquet(files)
        .select(COLUMNS)
        .sort("meter_id", "seq")
        .with_columns(is_low=pl.col("voltage_v") < LOW_V)
        .with_columns(goes_on=goes_on)
        .filter("is_low")
        .with_columns(run_number=(~pl.col("goes_on")).cum_sum())
        .group_by("run_number")
        .agg(
            pl.first("meter_id"),
            pl.first("pole_id"),
            pl.min("seq").alias("first_seq"),
            pl.max("seq").alias("last_seq"),
            pl.min("event_ts").alias("start_ts"),
            pl.max("event_ts").alias("end_ts"),
            pl.len().alias("sample_count"),
            pl.min("voltage_v").alias("min_voltage_v"),
            pl.mean("voltage_v").alias("mean_voltage_v"),
        )
        .filter(
            pl.col("last_seq") - pl.col("first_seq") + 1 >= MIN_S,
            pl.col("sample_count") >= MIN_READINGS,
        )
    )
    events.collect(engine="streaming").write_parquet(target)


def paths_of(files: str) -> list[Path]:
    """Files that a pattern names, in order."""
    folder, _, pattern = files.partition("*")
    return sorted(Path(folder).glob(f"*{pattern}"))


def pandas_sags(files: str, target: str) -> None:
    """pandas: `read_parquet`, `shift` and `cumsum`; texts as categories, or memory doubles."""
    import pandas as pd

    readings = pd.concat([pd.read_parquet(file, columns=COLUMNS) for file in paths_of(files)])
    readings["meter_id"] = readings["meter_id"].astype("category")
    readings["pole_id"] = readings["pole_id"].astype("category")
    readings = readings.sort_values(["meter_id", "seq"], ignore_index=True)
    is_low = readings["voltage_v"] < LOW_V
    goes_on = (
        (readings["meter_id"].cat.codes.diff() == 0)
        & is_low.shift(fill_value=False)
        & (readings["seq"].diff() <= MAX_STEP)
    )
    low = readings[is_low]
    events = low.groupby((~goes_on[is_low]).cumsum()).agg(
        meter_id=("meter_id", "first"),
        pole_id=("pole_id", "first"),
        first_seq=("seq", "min"),
        last_seq=("seq", "max"),
        start_ts=("event_ts", "min"),
        end_ts=("event_ts", "max"),
        sample_count=("seq", "size"),
        min_voltage_v=("voltage_v", "min"),
        mean_voltage_v=("voltage_v", "mean"),
    )
    is_event = (events["last_seq"] - events["first_seq"] + 1 >= MIN_S) & (
        events["sample_count"] >= MIN_READINGS
    )
    events[is_event].astype({"meter_id": str, "pole_id": str}).to_parquet(target, index=False)


ENGINES: Final[dict[str, Callable[[str, str], None]]] = {
    "duckdb": duckdb_sags,
    "clickhouse": clickhouse_sags,
    "polars": polars_sags,
    "pandas": pandas_sags,
}

if __name__ == "__main__":
    tell_of_one(ENGINES)
