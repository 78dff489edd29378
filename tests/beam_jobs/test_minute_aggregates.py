"""Provisional aggregates: worked by hand, restated when late readings come."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

import pytest
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from ingest_helpers import EVENT_TS, NOW, as_json, judge, message, reading, streamed

from ami_contract.live import LIVE_AGGREGATE_FIELDS
from ami_contract.reading import ROW_SCHEMA
from beam_jobs.elements import Enriched
from beam_jobs.enrich import enrich
from beam_jobs.minute_aggregates import AggregatePoles, aggregate

START = int(EVENT_TS.timestamp())


def enriched(*readings: dict[str, Any]) -> Enriched:
    return enrich(judge(message(as_json(*readings))))


def clock() -> datetime:
    return NOW


def test_power_is_the_mean_per_meter_summed_over_meters() -> None:
    rows = enriched(
        reading(1, meter_id="a", voltage_v=230, power_kw=1),
        reading(2, meter_id="a", voltage_v=232, power_kw=3),
        reading(3, meter_id="b", voltage_v=240, power_kw=5),
    ).rows
    ((key, found),) = aggregate(rows, 60).items()

    assert key == ("p1", START)
    assert found.columns() == {
        "readings": 3,
        "meters": 2,
        "voltage_mean_v": 234.0,
        "voltage_min_v": 230.0,
        "voltage_max_v": 240.0,
        "power_kw": 7.0,  # (1 + 3) / 2 + 5
    }


def test_no_rows_have_no_aggregates() -> None:
    assert aggregate(ROW_SCHEMA.empty_table(), 60) == {}


def test_halves_added_up_equal_a_plain_computation_over_all() -> None:
    random_ = random.Random(5)
    readings = [
        reading(
            seq,
            event_ts=(EVENT_TS + timedelta(seconds=random_.randrange(90))).isoformat(),
            pole_id=f"p{random_.randrange(2)}",
            meter_id=f"m{random_.randrange(3)}",
            voltage_v=random_.uniform(200, 250),
            power_kw=random_.uniform(-1, 3),
        )
        for seq in range(200)
    ]
    found = aggregate(enriched(*readings[:120]).rows, 30)
    for key, other in aggregate(enriched(*readings[120:]).rows, 30).items():
        found[key] = found[key].add(other) if key in found else other

    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for r in readings:
        second = int(datetime.fromisoformat(r["event_ts"]).timestamp())
        groups[r["pole_id"], second - second % 30].append(r)
    assert found.keys() == groups.keys()
    for key, group in groups.items():
        meters = {r["meter_id"] for r in group}
        power = sum(fmean(r["power_kw"] for r in group if r["meter_id"] == m) for m in meters)
        columns = found[key].columns()
        assert columns["power_kw"] == pytest.approx(power)
        assert columns["voltage_mean_v"] == pytest.approx(fmean(r["voltage_v"] for r in group))
        assert (columns["readings"], columns["meters"]) == (len(group), len(meters))


def sent(*readings: dict[str, Any]) -> TimestampedValue:
    return TimestampedValue(enriched(*readings), START)


def test_a_window_speaks_at_its_end_and_again_when_late_readings_restate_it() -> None:
    events = (
        TestStream()
        .with_output_types(Enriched)
        .advance_watermark_to(START)
        .add_elements([sent(reading(1, power_kw=1), reading(61, power_kw=9))])
        .add_elements([sent(reading(2, power_kw=3))])
        .advance_watermark_to(START + 60)
        .add_elements([sent(reading(3, power_kw=5))])
        .advance_watermark_to(START + 120)
        .advance_watermark_to(START + 60 + 3601)
        .add_elements([sent(reading(4, power_kw=100))])
        .advance_watermark_to_infinity()
    )
    tables = streamed(AggregatePoles(60, now=clock), events)
    rows = [row for table in tables for row in table.to_pylist()]

    assert list(rows[0]) == [field.name for field in LIVE_AGGREGATE_FIELDS]
    shown = [
        (row["window_start"] - EVENT_TS, row["pane"], row["readings"], row["power_kw"])
        for row in rows
    ]
    minute = timedelta(minutes=1)
    assert sorted(shown) == [
        (timedelta(0), 0, 2, 2.0),
        (timedelta(0), 1, 3, 3.0),
        (minute, 0, 1, 9.0),
    ]
    assert {(row["window_s"], row["computed_ts"]) for row in rows} == {(60, NOW)}
