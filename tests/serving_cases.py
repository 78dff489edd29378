"""One question of every kind to the small warehouse: gives each statement with its values."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from small_warehouse import END, NEWEST, SAG, START, event_id

from ami_store import statements as s

DAY = timedelta(days=1)
DR = {
    "start": datetime.fromisoformat("2026-03-03T16:00:00+00:00"),
    "end": datetime.fromisoformat("2026-03-03T18:00:00+00:00"),
    "pole_ids": ["p1", "p2"],
    "method": "caiso_10_of_10",
    "adjustment": None,
}
EVERYTHING: dict[str, Any] = {
    "start": START,
    "end": END,
    "pole_id": None,
    "meter_id": None,
    "severity": None,
    "scope": None,
    "min_duration_s": None,
    "after_ts": None,
    "after_id": None,
    "row_limit": 3,
}
POLE = {"pole_id": "p1", "start": START, "end": START + 2 * DAY}
QUALITY = {"meter_id": "m1", "start": START + DAY, "end": START + 2 * DAY}
FLEET_QUALITY = {"start": START + DAY, "end": START + 2 * DAY}

CASES: list[tuple[s.Statement, dict[str, Any]]] = [
    (s.NEWEST, {}),
    (s.POLES, {"feeder_id": None, "after_id": None, "health_since": NEWEST - DAY}),
    (s.POLES, {"feeder_id": "f2", "after_id": "p2", "health_since": NEWEST - DAY}),
    (s.POLE_NAMES, {}),
    (s.POLE, {"pole_id": "p1"}),
    (s.POLE_SUMMARY, {**POLE, "read_start": START}),
    (s.POLE_SUMMARY, {**POLE, "pole_id": "p3", "read_start": START}),
    (
        s.SERIES_OF_MINUTES,
        {"pole_id": "p1", "start": SAG, "end": SAG + timedelta(hours=1), "resolution_s": 60},
    ),
    (s.SERIES_OF_SLOTS, {**POLE, "resolution_s": 3600}),
    (s.ANOMALIES, EVERYTHING),
    (
        s.ANOMALIES,
        {
            **EVERYTHING,
            "pole_id": "p1",
            "meter_id": "m1",
            "severity": "major",
            "scope": "meter",
            "min_duration_s": 10.0,
        },
    ),
    (s.ANOMALIES, {**EVERYTHING, "after_ts": SAG, "after_id": min(event_id(1), event_id(2))}),
    (s.ANOMALY, {"event_id": event_id(1)}),
    (s.SUPERSEDED, {"event_id": event_id(101)}),
    (s.TRACES, {"pole_id": "p1", "start": SAG, "end": SAG + timedelta(seconds=10)}),
    (
        s.INTERVAL_MEANS,
        {
            "pole_id": "p1",
            "meter_id": "m1",
            "start": SAG,
            "end": SAG + timedelta(seconds=5),
            "read_start": SAG,
            "read_end": SAG + timedelta(hours=1),
        },
    ),
    (s.METER, {"meter_id": "m1"}),
    (s.METER_QUALITY_TOTAL, QUALITY),
    (s.METER_QUALITY_TOTAL, {**QUALITY, "meter_id": "m4"}),
    (s.METER_QUALITY_HOURS, QUALITY),
    (s.FLEET_QUALITY_METERS, {**FLEET_QUALITY, "pole_id": None, "after_id": None}),
    (s.FLEET_QUALITY_METERS, {**FLEET_QUALITY, "pole_id": "p1", "after_id": "m1"}),
    (s.FLEET_QUALITY_HOURS, {**FLEET_QUALITY, "pole_id": None}),
    (s.FLEET_QUALITY_HOURS, {**FLEET_QUALITY, "pole_id": "p1"}),
    (
        s.METER_VOLTAGE_DAYS,
        {"meter_id": "m1", "first_day": date(2026, 3, 1), "last_day": date(2026, 3, 3)},
    ),
    (s.DR_EVENTS, {"after_ts": None, "after_id": None, "row_limit": 2}),
    (s.DR_EVENTS, {"after_ts": START + DAY, "after_id": "heat-1"}),
    (s.DR_WINDOW, DR),
    (s.DR_WINDOW, {**DR, "adjustment": "none"}),
    (s.DR_ACCURACY, {"method": "pjm_high_4_of_5", "adjustment": None}),
    (s.POLES_HEARD, {}),
    (s.METERS_IN_SERVICE, {"start": END}),
    (s.RECENT_EVENTS, {"since": SAG}),
    (s.LIVE_TRACES, {"pole_id": "p1", "start": SAG, "end": SAG + timedelta(seconds=10)}),
]
