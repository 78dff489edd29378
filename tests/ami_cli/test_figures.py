"""Figures for metrics are those of the marts."""

from __future__ import annotations

import json
from datetime import timedelta

from small_warehouse import NEWEST, event_id, publish_small, rows_of_marts

from ami_cli.figures import figures
from ami_contract.lake import DataDir
from ami_store.serving import DuckDbServing


def test_figures_tell_each_pole_and_the_fleet_as_the_marts_do(tmp_path) -> None:
    rows = rows_of_marts()
    # Of the events, those of the last hour count: one at its end, one an hour and a second before.
    by_id = {row["event_id"]: row for row in rows["voltage_events"]}
    by_id[event_id(1)]["start_ts"] = NEWEST
    by_id[event_id(2)]["start_ts"] = NEWEST - timedelta(hours=1, seconds=1)
    newest_hour = max(row["hour_ts"] for row in rows["pole_health_hourly"])
    for row in rows["pole_health_hourly"]:
        if row["pole_id"] == "p2" and row["hour_ts"] == newest_hour:
            row |= {"mean_voltage_v": 231.5, "score": None}
    publish_small(data := DataDir(tmp_path), rows)
    warehouse = DuckDbServing(data)

    told = list(figures(warehouse, NEWEST + timedelta(seconds=90), 10.0))
    warehouse.close()

    assert told == [
        {"figure": "pole", "pole_id": "p1", "feeder_id": "f1", "mean_voltage_v": 240.0,
         "health_score": 100.0},
        {"figure": "pole", "pole_id": "p2", "feeder_id": "f2", "mean_voltage_v": 231.5},
        {"figure": "pole", "pole_id": "p3", "feeder_id": "f2"},
        {"figure": "fleet", "poles": 3, "active_meters": 3, "sag_events_last_hour": 1,
         "newest_reading_age_s": 90.0},
    ]  # fmt: skip
    assert json.loads(json.dumps(told)) == told
