"""An event's shed as a notebook computes it: reads 5-minute power, gives kWh by pole.

    python -m benchmarks.peers.tutorial_baseline POWER_FILE TIME_ZONE START END TARGET REPEATS

The mean of the ten most recent working days in each slot, scaled by the morning of the day
(CAISO's 10-of-10 with a same-day adjustment between 0.8 and 1.2), in pandas: `tz_convert`,
`groupby`, `mean` (<https://pandas.pydata.org/docs/user_guide/timeseries.html>). One method, one
adjustment, no holidays, no earlier events, no outages, no windows over midnight.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Final

import pandas as pd

from benchmarks.peers.cost import cost_of, tell

DAYS: Final = 10
LOOK_BACK: Final = pd.Timedelta(days=45)
SLOTS_OF_DAY: Final = 288
MIN_COVERAGE: Final = 0.9
FACTORS: Final = (0.8, 1.2)
SATURDAY: Final = 5


def sheds(file: str, time_zone: str, start: str, end: str, target: str) -> None:
    """Write baseline and shed (kWh) of the window by pole."""
    window_start, window_end = (pd.Timestamp(t).tz_convert(time_zone) for t in (start, end))
    power = pd.read_parquet(file).dropna(subset="dr_power_kw")
    local_ts = power["slot_ts"].dt.tz_convert(time_zone)
    power["local_ts"], power["day"] = local_ts, local_ts.dt.normalize()
    power["time_of_day"] = local_ts.dt.hour * 60 + local_ts.dt.minute
    event_day = window_start.normalize()
    before = power[
        (power["day"] < event_day)
        & (power["day"] >= event_day - LOOK_BACK)
        & (power["day"].dt.dayofweek < SATURDAY)
    ]
    slots = before.groupby(["pole_id", "day"]).size()
    eligible = slots[slots >= MIN_COVERAGE * SLOTS_OF_DAY].reset_index()
    chosen = eligible.sort_values("day").groupby("pole_id").tail(DAYS)[["pole_id", "day"]]
    baseline = (
        before.merge(chosen, on=["pole_id", "day"])
        .groupby(["pole_id", "time_of_day"], as_index=False)["dr_power_kw"]
        .mean()
        .rename(columns={"dr_power_kw": "baseline_kw"})
    )
    today = power[power["day"] == event_day].merge(baseline, on=["pole_id", "time_of_day"])
    hour = pd.Timedelta(hours=1)
    morning = today[
        (today["local_ts"] >= window_start - 4 * hour) & (today["local_ts"] < window_start - hour)
    ]
    sums = morning.groupby("pole_id")[["dr_power_kw", "baseline_kw"]].sum()
    factor = (sums["dr_power_kw"] / sums["baseline_kw"]).clip(*FACTORS)
    event = today[(today["local_ts"] >= window_start) & (today["local_ts"] < window_end)]
    totals = event.groupby("pole_id")[["baseline_kw", "dr_power_kw"]].sum() / 12
    totals["baseline_kwh"] = totals["baseline_kw"] * factor
    totals["shed_kwh"] = totals["baseline_kwh"] - totals["dr_power_kw"]
    totals[["baseline_kwh", "shed_kwh"]].reset_index().to_parquet(target, index=False)


if __name__ == "__main__":
    _file, _zone, _start, _end, _target, _repeats = sys.argv[1:]
    tell(cost_of(partial(sheds, _file, _zone, _start, _end, _target), int(_repeats)))
