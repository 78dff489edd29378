"""Pole health of hours as a notebook computes it: reads an hour's readings, gives scores by pole.

    python -m benchmarks.peers.tutorial_health READINGS_FOLDER REGISTRY TARGET REPEATS

`read_parquet`, `groupby` and `agg` in pandas, a table per question, merged at the end
(<https://pandas.pydata.org/docs/user_guide/groupby.html>). The formulas are the platform's; what is
simpler: one nominal voltage, one sample interval, every meter in service all the time, no epochs,
nothing stored twice, no latencies, and an hour is made anew as a whole.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.peers.cost import cost_of, tell
from benchmarks.peers.sags import LOW_V, MAX_STEP, MIN_READINGS, MIN_S

COLUMNS: Final = [
    "meter_id", "pole_id", "seq", "event_ts", "voltage_v", "power_kw", "reactive_kvar"
]  # fmt: skip
HIGH_V: Final = 254
RANGE_A_V: Final = (228, 252)
POLE_HOUR: Final = ["pole_id", "hour_ts"]


def health(folder: str, registry: str, target: str) -> None:
    """Write one row per pole and hour: the columns that stand beside a score, and the score."""
    files = sorted(Path(folder).rglob("readings-*.parquet"))
    readings = pd.concat([pd.read_parquet(file, columns=COLUMNS) for file in files])
    for name in ("meter_id", "pole_id"):
        readings[name] = readings[name].astype("category")
    readings = readings.sort_values(["meter_id", "seq"], ignore_index=True)
    readings["hour_ts"] = readings["event_ts"].dt.floor("h")
    readings["is_low"] = readings["voltage_v"] < LOW_V
    readings["is_high"] = readings["voltage_v"] > HIGH_V
    grouped = readings.groupby(POLE_HOUR, observed=True)
    poles = grouped.agg(
        received=("seq", "size"),
        meters_reporting=("meter_id", "nunique"),
        low_readings=("is_low", "sum"),
        high_readings=("is_high", "sum"),
        min_voltage_v=("voltage_v", "min"),
        mean_voltage_v=("voltage_v", "mean"),
        max_voltage_v=("voltage_v", "max"),
        energy_kwh=("power_kw", "sum"),
    )
    poles["energy_kwh"] /= 3600
    poles["pct_low"] = 100 * poles["low_readings"] / poles["received"]
    poles["pct_high"] = 100 * poles["high_readings"] / poles["received"]
    poles["missing_rate"] = 1 - poles["received"] / expected(readings)
    poles["peak_kw"] = peak_kw(readings)
    poles["share_out_of_limits"] = share_out_of_limits(readings)
    poles["meters_with_event"] = meters_with_event(readings)
    poles["meters_with_event"] = poles["meters_with_event"].fillna(0)
    poles["loading"] = loading(readings, registry)
    score_voltage = (1 - poles["share_out_of_limits"] / 0.05).clip(lower=0)
    score_events = 1 - poles["meters_with_event"] / poles["meters_reporting"]
    score_data = (1 - poles["missing_rate"] / 0.10).clip(lower=0)
    score_loading = ((1.5 - poles["loading"]) / (1.5 - 0.8)).clip(0, 1)
    poles["score"] = 100 * (
        0.35 * score_voltage + 0.25 * score_events + 0.25 * score_data + 0.15 * score_loading
    )
    poles.reset_index().astype({"pole_id": str}).to_parquet(target, index=False)


def expected(readings: pd.DataFrame) -> pd.Series:
    """Readings up to each meter's last one in the hour: later ones may still be on their way."""
    last_ts = readings.groupby(["meter_id", *POLE_HOUR], observed=True)["event_ts"].max()
    into_hour = last_ts - last_ts.index.get_level_values("hour_ts")
    return (into_hour.dt.floor("s").dt.total_seconds() + 1).groupby(POLE_HOUR, observed=True).sum()


def peak_kw(readings: pd.DataFrame) -> pd.Series:
    """Largest minute of the sum of the meters' means (kW)."""
    minute_ts = readings["event_ts"].dt.floor("min").rename("minute_ts")
    means = readings.groupby(["meter_id", "pole_id", minute_ts], observed=True)["power_kw"].mean()
    minutes = means.groupby(["pole_id", "minute_ts"], observed=True).sum().reset_index()
    minutes["hour_ts"] = minutes["minute_ts"].dt.floor("h")
    return minutes.groupby(POLE_HOUR, observed=True)["power_kw"].max()


def share_out_of_limits(readings: pd.DataFrame) -> pd.Series:
    """Share of valid 10-minute RMS values outside ANSI Range A."""
    interval_ts = readings["event_ts"].dt.floor("10min").rename("interval_ts")
    squares = readings["voltage_v"] ** 2
    intervals = squares.groupby(
        [readings["meter_id"], readings["pole_id"], interval_ts], observed=True
    ).agg(["mean", "size"])
    valid = intervals[intervals["size"] >= 540].reset_index()
    valid["hour_ts"] = valid["interval_ts"].dt.floor("h")
    valid["is_out"] = ~np.sqrt(valid["mean"]).between(*RANGE_A_V)
    return valid.groupby(POLE_HOUR, observed=True)["is_out"].mean()


def meters_with_event(readings: pd.DataFrame) -> pd.Series:
    """Meters with a low-voltage event in the hour; of events that reach over an hour's end too."""
    goes_on = (
        (readings["meter_id"].cat.codes.diff() == 0)
        & readings["is_low"].shift(fill_value=False)
        & (readings["seq"].diff() <= MAX_STEP)
    )
    low = readings[readings["is_low"]]
    run_number = (~goes_on[readings["is_low"]]).cumsum()
    runs = low.groupby(run_number)["seq"].agg(["min", "max", "size"])
    is_event = (runs["max"] - runs["min"] + 1 >= MIN_S) & (runs["size"] >= MIN_READINGS)
    of_events = low[run_number.map(is_event)]
    return of_events.groupby(POLE_HOUR, observed=True)["meter_id"].nunique()


def loading(readings: pd.DataFrame, registry: str) -> pd.Series:
    """√(P² + Q²) of the meters' summed mean powers over the transformer's rating."""
    means = readings.groupby(["meter_id", *POLE_HOUR], observed=True)[
        ["power_kw", "reactive_kvar"]
    ].mean()
    sums = means.groupby(POLE_HOUR, observed=True).sum()
    meters = pd.read_csv(registry, usecols=["pole_id", "rated_kva"])
    rated_kva = meters.groupby("pole_id")["rated_kva"].max()
    apparent_kva = np.hypot(sums["power_kw"], sums["reactive_kvar"])
    return apparent_kva / rated_kva.reindex(apparent_kva.index.get_level_values(0)).to_numpy()


if __name__ == "__main__":
    _folder, _registry, _target, _repeats = sys.argv[1:]
    tell(cost_of(partial(health, _folder, _registry, _target), int(_repeats)))
