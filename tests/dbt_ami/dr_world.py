"""A random demand-response world: gives meters of three poles, and writes it for dbt to build on.

One pole springs forward in March (Chicago), one later (Paris, with PV), one falls back in April
(Sydney). Gaps, outages, copied days (ties), near-idle days, holidays and awkward events are in it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from ami_contract.lake import DataDir

from .reference_dr import SLOT, Event, MeterSlot, World

START = datetime(2026, 1, 20, tzinfo=UTC)
DAYS = 88
ZONES = {"chicago": "America/Chicago", "paris": "Europe/Paris", "sydney": "Australia/Sydney"}
HOLIDAYS = {date(2026, 2, 16), date(2026, 4, 3), date(2026, 4, 6)}
DR_MODELS = ("path:models/intermediate/demand_response", "path:models/marts/demand_response")


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def random_events() -> list[Event]:
    """Events whose windows are awkward: midnight, clock changes, the early morning, close rows."""
    spans = {
        "chicago": [
            ("too-early", "2026-01-23T16:00-06:00", "2026-01-23T18:00-06:00"),
            ("usual", "2026-03-05T16:00-06:00", "2026-03-05T20:00-06:00"),
            ("spring-night", "2026-03-07T23:00-06:00", "2026-03-08T05:00-05:00"),
            ("dawn", "2026-03-25T02:00-05:00", "2026-03-25T04:30-05:00"),
            ("first", "2026-04-08T14:00-05:00", "2026-04-08T16:00-05:00"),
            ("close", "2026-04-08T17:00-05:00", "2026-04-08T19:00-05:00"),
        ],
        "paris": [
            ("midday", "2026-03-24T11:00+01:00", "2026-03-24T14:00+01:00"),
            ("over-midnight", "2026-04-09T22:30+02:00", "2026-04-10T01:30+02:00"),
            ("weekend", "2026-04-11T16:00+02:00", "2026-04-11T18:00+02:00"),
        ],
        "sydney": [
            ("fall-night", "2026-04-05T01:00+11:00", "2026-04-05T04:00+10:00"),
            ("holiday", "2026-04-06T17:00+10:00", "2026-04-06T19:00+10:00"),
            ("later", "2026-04-14T16:00+10:00", "2026-04-14T20:00+10:00"),
        ],
    }
    return [
        Event(f"{pole}-{name}", pole, _at(start), _at(end))
        for pole, rows in spans.items()
        for name, start, end in rows
    ]


def random_world(seed: int) -> World:
    """Ten meters of three poles over DAYS days; powers are quarters of a kW, so that ties are."""
    rng = np.random.default_rng(seed)
    slots = [START + k * SLOT for k in range(DAYS * 288)]
    hour = np.arange(DAYS * 288) % 288 / 12
    meters: dict[tuple[str, str], dict[datetime, MeterSlot]] = {}
    outages: dict[str, list[tuple[datetime, datetime]]] = {}
    for pole, count in (("chicago", 4), ("paris", 3), ("sydney", 3)):
        level = rng.choice([0.0, 0.25, 1.0, 1.0, 1.25, 1.5, 2.0], DAYS)
        level[1::9] = level[0::9][: len(level[1::9])]
        for number in range(count):
            meter = f"{pole}-{number}"
            shape = 1.5 + np.sin((hour - 9) / 24 * 2 * np.pi)
            kw = np.repeat(level, 288) * shape + rng.choice(
                [0.0, 0.5, 1.5], DAYS * 288, p=[0.7, 0.2, 0.1]
            )
            if pole == "paris":
                kw -= 3.0 * np.clip(np.sin((hour - 5) / 14 * np.pi), 0, None)
            kw = np.round(kw * 4) / 4
            # Whole days that repeat the working day before make equal energies and means.
            for day in range(8, DAYS, 7):
                kw[day * 288 : (day + 1) * 288] = kw[(day - 1) * 288 : day * 288]
            covered = np.full(DAYS * 288, 300.0)
            for _ in range(12):
                first = int(rng.integers(0, DAYS * 288))
                covered[first : first + int(rng.choice([1, 3, 6, 7, 20, 40]))] = float(
                    rng.choice([0, 60, 239, 240])
                )
            outages[meter] = []
            if number == 0:
                first = int(rng.integers(40 * 288, 60 * 288))
                start = slots[first] + timedelta(seconds=90)
                end = slots[first + 30] + timedelta(seconds=30)
                outages[meter] = [(start, end)]
                covered[first : first + 30] = 0.0
                covered[first], covered[first + 30] = 90.0, 270.0
            meters[pole, meter] = {
                t: MeterSlot(float(k * c / 3600), float(c), 300.0)
                for t, k, c in zip(slots, kw, covered, strict=True)
            }
    return World(dict(ZONES), meters, outages, set(HOLIDAYS), random_events())


def write_world(data: DataDir, world: World) -> None:
    """The tables that the demand-response models read, in the warehouse of `data`."""
    data.warehouse.parent.mkdir(parents=True, exist_ok=True)
    slots = [
        {
            "meter_id": meter,
            "pole_id": pole,
            "slot_ts": at,
            "received_readings": int(slot.covered_s),
            "covered_s": slot.covered_s,
            "in_service_s": slot.in_service_s,
            "covered_kwh": slot.covered_kwh,
        }
        for (pole, meter), rows in world.meters.items()
        for at, slot in rows.items()
    ]
    end = max(row["slot_ts"] for row in slots) + SLOT
    service = [{"meter_id": m, "pole_id": p, "time_zone": world.zones[p]} for p, m in world.meters]
    gone = [
        {"meter_id": m, "pole_id": p, "start_ts": start, "end_ts": back}
        for p, m in world.meters
        for start, back in world.outages.get(m, [])
    ]
    events = [
        {
            "event_id": e.event_id,
            "start_ts": e.start,
            "end_ts": e.end,
            "pole_ids": e.pole_id,
            "program": "",
            "notes": "",
        }
        for e in world.events
    ]
    stamp = pa.timestamp("us", tz="UTC")
    gone_schema = pa.schema(
        [
            ("meter_id", pa.string()),
            ("pole_id", pa.string()),
            ("start_ts", stamp),
            ("end_ts", stamp),
        ]
    )
    event_schema = pa.schema(
        [
            ("event_id", pa.string()),
            ("start_ts", stamp),
            ("end_ts", stamp),
            ("pole_ids", pa.string()),
            ("program", pa.string()),
            ("notes", pa.string()),
        ]
    )
    tables = {
        "slots": pa.Table.from_pylist(slots),
        "service": pa.Table.from_pylist(service),
        "gone": pa.Table.from_pylist(gone, schema=gone_schema),
        "holidays": pa.table({"day": pa.array(sorted(world.holidays), pa.date32())}),
        "events": pa.Table.from_pylist(events, schema=event_schema),
    }
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            con.register(f"arrow_{name}", table)
        con.execute(
            """
            create table int_meter_5min as
            select *, null::double as min_voltage_v, null::double as max_voltage_v,
                null::double as voltage_sum_v
            from arrow_slots
            """
        )
        con.execute(
            """
            create table int_meter_hour_parts as
            select distinct meter_id, pole_id, date_trunc('hour', slot_ts) as hour_ts
            from arrow_slots
            """
        )
        con.execute(
            """
            create table int_meter_service as
            select *, timestamptz '2020-01-01 00:00:00+00' as service_from,
                timestamptz '2020-01-01 00:00:00+00' as expected_from, ?::timestamptz as expected_to
            from arrow_service
            """,
            [end],
        )
        con.execute(
            "create table int_lake_range as select timestamptz '2020-01-01 00:00:00+00'"
            " as oldest_event_ts, ?::timestamptz as watermark_ts",
            [end],
        )
        con.execute("create table outages as select *, end_ts as until_ts from arrow_gone")
        con.execute(
            "create table int_touched_slot_windows as select distinct"
            " date_trunc('hour', slot_ts) as window_ts from arrow_slots"
        )
        con.execute(
            "create table holidays as select day, 'all' as zone, '' as name from arrow_holidays"
        )
        con.execute("create table dr_events as select * from arrow_events")
