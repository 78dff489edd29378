"""The sag rule on its limits: stories of single meters against brute force, built at once and after
readings that came late.

Checked on the way to the events as well: which readings count and in which epoch, which hours are
calm, so that none of their readings is looked up again, and which readings are looked up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from ami_contract.lake import DataDir
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.registry import write_registry

from .conftest import assert_same_rows, run_dbt
from .growing_lake import land_rows
from .reference import HOUR_US, Reference, us
from .sag_stories import Row, stories

EXACT = {"duration_s", "min_voltage_v", "min_voltage_pu"}
EARLY, LATE, REGISTRY = stories(1, 150)


def build(data: DataDir) -> None:
    """Build the events."""
    done = run_dbt(data, "run", "--select", "+voltage_events")
    assert done.returncode == 0, done.stdout


@dataclass
class Expected:
    """What the models hold, by brute force.

    Attributes:
        events: `voltage_events` by id.
        kept: (meter_id, event_ts in µs, seq, epoch) of the readings that count.
        hours: (is_restless, is_calm) by meter_id and begin of the hour in µs.
        probes: (meter_id, epoch, seq) of the readings that are looked up.
        runs: (meter_id, epoch, first_seq, last_seq, low readings) of all low runs, whether they
            begin and end beside a reading, and where they began.
    """

    events: dict[str, dict[str, Any]]
    kept: set[tuple[str, int, int, int]]
    hours: dict[tuple[str, int], tuple[bool, bool]]
    probes: set[tuple[str, int, int]]
    runs: list[tuple[Any, ...]]


def expected_of(stored: list[Row]) -> Expected:
    """Brute force over `stored`, which holds no copies."""
    reference = Reference(stored, REGISTRY)
    hours: dict[tuple[str, int], tuple[bool, bool]] = {}
    probes: set[tuple[str, int, int]] = set()
    for meter_id, kept in reference.by_meter.items():
        own = [row for row in stored if row["meter_id"] == meter_id]
        of_meter = hours_of(own, kept, reference.interval_us[meter_id])
        hours |= {(meter_id, hour): flags for hour, flags in of_meter.items()}
        probes |= probes_of(kept, of_meter, reference.interval_us[meter_id])
    return Expected(
        {event["event_id"]: event for event in reference.events},
        {
            (meter_id, us(row["event_ts"]), row["seq"], row["epoch"])
            for meter_id, rows in reference.by_meter.items()
            for row in rows
        },
        hours,
        probes,
        sorted(run for meter_id in reference.by_meter for run in runs_of(reference, meter_id)),
    )


def runs_of(reference: Reference, meter_id: str) -> Iterator[tuple[Any, ...]]:
    """The low runs of a meter, in the form of `Expected.runs`."""

    def is_beside(before: Row | None, after: Row | None) -> bool:
        return bool(
            before
            and after
            and after["seq"] == before["seq"] + 1
            and reference._runs_on(before, after)
        )

    for before, run, after in reference._low_runs(meter_id):
        first, last = run[0], run[-1]
        yield (
            *(meter_id, first["epoch"], first["seq"], last["seq"], len(run)),
            *(is_beside(before, first), is_beside(last, after), first["pole_id"]),
        )


def hours_of(stored: list[Row], kept: list[Row], interval_us: int) -> dict[int, tuple[bool, bool]]:
    """(is_restless, is_calm) of the hours of a meter with `stored` readings, of which `kept` count.

    Restless: an epoch may begin in it. Calm: the reading beside another in time is beside it in
    `seq` as well, in this hour and in those before and after it.
    """
    counted = {(row["event_ts"], row["seq"]) for row in kept}
    starts = {row["epoch"]: row["event_ts"] for row in reversed(kept)}
    by_hour: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(stored, key=lambda r: r["event_ts"]):
        by_hour[us(row["event_ts"]) // HOUR_US * HOUR_US].append(row)
    restless, irregular = {}, {}
    spans: list[tuple[int, int, int, int]] = []
    for hour, rows in by_hour.items():
        flags = {flag for row in rows for flag in row["quality_flags"]}
        anchors = [us(row["event_ts"]) - row["seq"] * interval_us for row in rows]
        spread_us = max(anchors) - min(anchors)
        restless[hour] = "clock_reset" in flags or spread_us > max(300 * 10**6, 2 * interval_us)
        irregular[hour] = (
            bool(flags & {"clock_reset", "estimated", "missing_sample"})
            or 2 * spread_us >= interval_us
            or any((row["event_ts"], row["seq"]) not in counted for row in rows)
        )
        seqs: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            begun = [epoch for epoch, at in starts.items() if at <= row["event_ts"]]
            seqs[max(begun)].append(row["seq"])
        spans += [(hour, epoch, min(found), max(found)) for epoch, found in seqs.items()]
    for hour, epoch, least, most in spans:
        irregular[hour] |= any(
            epoch_of == epoch
            and ((other < hour and last >= least) or (other > hour and first <= most))
            for other, epoch_of, first, last in spans
        )
    names = list(by_hour)
    return {
        hour: (
            restless[hour],
            not any(irregular[other] for other in names[max(0, number - 1) : number + 2]),
        )
        for number, hour in enumerate(names)
    }


def probes_of(
    kept: list[Row], hours: dict[int, tuple[bool, bool]], interval_us: int
) -> set[tuple[str, int, int]]:
    """Samples beside and between the low readings of hours that are not calm."""
    epochs: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(kept, key=lambda r: r["seq"]):
        if row["low"] and row["received"]:
            epochs[row["epoch"]].append(row)
    found: set[tuple[str, int, int]] = set()
    for epoch, rows in epochs.items():
        for before, row, after in zip([None, *rows], rows, [*rows[1:], None], strict=False):
            if hours[us(row["event_ts"]) // HOUR_US * HOUR_US][1]:
                continue
            missing = range(row["seq"] - 1, row["seq"])
            if before is not None:
                step = row["seq"] - before["seq"]
                slip_us = us(row["event_ts"]) - us(before["event_ts"]) - step * interval_us
                is_near = (step - 1) * interval_us <= 5 * 10**6
                runs_on = abs(slip_us) <= max(10**6, interval_us / 2)
                missing = range(before["seq"] + 1, row["seq"])
                if not (is_near and runs_on):
                    missing = missing[-1:]
            found |= {(row["meter_id"], epoch, seq) for seq in missing}
            if after is None or after["seq"] > row["seq"] + 1:
                found.add((row["meter_id"], epoch, row["seq"] + 1))
    return found


def check_rule(con: duckdb.DuckDBPyConnection, expected: Expected) -> None:
    """The models hold what brute force expects, the events in every column."""
    kept = con.execute("select meter_id, epoch_us(event_ts), seq, epoch from readings").fetchall()
    assert sorted(kept) == sorted(expected.kept)
    hours = con.execute(
        "select meter_id, epoch_us(hour_ts), is_restless, is_calm"
        " from int_meter_hour_anchors join int_meter_hour_borders using (meter_id, hour_ts)"
    ).fetchall()
    assert len(hours) == len(expected.hours)
    assert {row[:2]: row[2:] for row in hours} == expected.hours
    probes = con.execute("select meter_id, epoch, seq from int_low_probes").fetchall()
    assert sorted(probes) == sorted(expected.probes)
    runs = con.execute(
        "select meter_id, epoch, first_seq, last_seq, sample_count, begins_after_reading,"
        " ends_before_reading, pole_id from int_low_runs where ends_in_outage is not null"
    ).fetchall()
    assert sorted(runs) == expected.runs
    cursor = con.execute("select * from voltage_events")
    names = [column[0] for column in cursor.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = {row["event_id"]: row for row in rows}
    assert len(found) == len(rows)
    assert_same_rows(found, expected.events, EXACT)


def write_early(data: DataDir) -> None:
    """A lake with what came early."""
    land_rows(data, EARLY, "early", 0)
    write_registry(data.registry, pa.Table.from_pylist(REGISTRY, schema=REGISTRY_SCHEMA))


def check_built(data: DataDir, stored: list[Row]) -> None:
    """The same, of a warehouse that is not open."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        check_rule(con, expected_of(stored))


def test_events_on_the_limits_and_what_late_readings_make_of_them_equal_brute_force(
    data: DataDir,
) -> None:
    write_early(data)
    build(data)
    check_built(data, EARLY)

    land_rows(data, LATE, "late", 5)
    build(data)
    check_built(data, EARLY + LATE)


def test_the_stories_tell_every_kind_of_event() -> None:
    before = expected_of(EARLY).events
    after = expected_of(EARLY + LATE).events

    assert len(after) > 200
    wanted: dict[str, set[object]] = {
        "ended_by": {"recovery", "gap", "outage", "open"},
        "evidence": {"observed", "inferred"},
        "severity": {"minor", "major", "critical"},
        "coarse": {True, False},
        "truncated_start": {True, False},
        "duration_s": {5.0, 60.0},
    }
    for column, kinds in wanted.items():
        assert {event[column] for event in after.values()} >= kinds, column
    assert before.keys() - after.keys(), "some begin earlier, or are none, with what came late"
