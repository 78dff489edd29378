"""A sparse lake of many hours: gives rows and registries of rounds, each case in hours of its own.

A round touches few of these hours, and no other round touches them again, so what a round did not
restate that it should have still shows when all rounds are over. Readings reach forward (a reading
covers time for a sample interval), so cases of slots come first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .fleet import Row

Registry = dict[str, Row]


def day(number: int, hour: int = 0, minute: float = 0) -> datetime:
    """Instant in the days of this lake; the random fleet reads from day 9 to day 10."""
    return datetime(2026, 2, 20, tzinfo=UTC) + timedelta(days=number, hours=hour, minutes=minute)


CALM_HOUR = day(6)
"""An hour that no round after the first has reason to restate."""


def reading(
    meter_id: str, at: datetime, seq: int, voltage_v: float = 240.0, **other: object
) -> Row:
    """One stored reading, with power that differs from sample to sample."""
    return {
        "event_ts": at,
        "meter_id": meter_id,
        "pole_id": f"pole-{meter_id.split('/')[0]}",
        "seq": seq,
        "voltage_v": voltage_v,
        "current_a": 1.0,
        "power_kw": 1 + seq % 7 / 8,
        "reactive_kvar": 0.125,
        "quality_flags": [],
        "batch_id": "sparse",
        "ingest_ts": at + timedelta(seconds=2),
        "event_date": at.date(),
        **other,
    }


def _row(meter_id: str, begins: datetime, interval_s: float | None, **other: object) -> Row:
    """Registry row of a meter that is in service for a day."""
    return {
        "meter_id": meter_id,
        "pole_id": f"pole-{meter_id.split('/')[0]}",
        "transformer_id": f"t-{meter_id}",
        "feeder_id": "f-sparse",
        "nominal_voltage_v": 240.0,
        "sample_interval_ms": None if interval_s is None else round(interval_s * 1000),
        "rated_kva": 10.0,
        "valid_from": begins,
        "valid_to": begins + timedelta(days=1),
        **other,
    }


def _minutes(
    meter_id: str, begins: datetime, count: int, low: Iterable[int] = (), low_v: float = 215.0
) -> list[Row]:
    """One reading a minute, low in the minutes `low`."""
    dips = set(low)
    return [
        reading(meter_id, begins + timedelta(minutes=n), n + 1000, low_v if n in dips else 240.0)
        for n in range(count)
    ]


def _two_hours_more(meter_id: str, begins: datetime) -> list[Row]:
    """Readings after a case: when an hour goes, the two before it of every meter are looked at."""
    return [reading(meter_id, begins + timedelta(hours=n), 10_000 + n) for n in range(2)]


@dataclass(frozen=True)
class SparseLake:
    """What lands in the first and in the second round, and who is registered by what.

    Attributes:
        first: rows of the first round.
        second: rows of the second, late for some hours.
        registry: registry of these rounds.
        withdrawn: changes of the registry (by meter) that are taken back before a build over them
            is complete, one for each list of windows that is noted.
        changes: changes that stay.
        removed: hours whose files go in the end.
    """

    first: list[Row]
    second: list[Row]
    registry: list[Row]
    withdrawn: dict[str, Registry]
    changes: Registry
    removed: list[datetime]


def changed(registry: list[Row], changes: Registry) -> list[Row]:
    """The registry with other values for some meters."""
    return [{**row, **changes.get(row["meter_id"], {})} for row in registry]


def sparse_lake() -> SparseLake:
    """All cases; a meter `pole/name` hangs on that pole, any other on a pole of its own."""
    first: list[Row] = []
    second: list[Row] = []
    registry: list[Row] = []
    changes: Registry = {}

    # A meter that reads every four hours shows its pole in hours in which nothing is read at all;
    # there the service of another meter ends, earlier than was said.
    registry += [
        _row("gap/slow", day(0), 4 * 3600),
        _row("gap/silent", day(0), 60, valid_to=day(0, 2, 30)),
    ]
    first += [reading("gap/slow", day(0), 1), reading("gap/slow", day(0, 4), 2)]
    changes["gap/silent"] = {"valid_to": day(0, 1, 30)}

    # The service of a silent meter changes while others of its pole read.
    registry += [
        _row("service/a", day(0, 12), 60),
        _row("service/silent", day(0, 12), 60, valid_to=day(0, 12, 10)),
    ]
    first += _minutes("service/a", day(0, 12), 20)

    # Readings of eight hours turn out to be of one hour.
    registry.append(_row("shrinks", day(1), 8 * 3600))
    first += [reading("shrinks", day(1), 1), reading("shrinks", day(1, 16), 3)]
    changes["shrinks"] = {"sample_interval_ms": 3_600_000}

    # A late reading covers time of the next hour.
    registry.append(_row("reaches", day(2), 900))
    first += [reading("reaches", day(2, 11, 10 + 15 * n), n + 2) for n in range(3)]
    second.append(reading("reaches", day(2, 10, 55), 1))

    # At 230 V nominal, 215 V is not low: the hour loses all its low readings.
    registry.append(_row("nominal", day(3), 60))
    first += _minutes("nominal", day(3, 0), 20, range(5, 10))
    changes["nominal"] = {"nominal_voltage_v": 230.0}

    # The registry does not say the sample interval any more, or says it now: it stays the same.
    registry += [_row("undeclared", day(3), 60), _row("declared", day(3), None)]
    first += _minutes("undeclared", day(3, 1), 20) + _minutes("declared", day(3, 2), 20)
    changes["undeclared"] = {"sample_interval_ms": None}
    changes["declared"] = {"sample_interval_ms": 60_000}

    registry.append(_row("interval", day(3), 60))
    first += _minutes("interval", day(3, 3), 20)
    changes["interval"] = {"sample_interval_ms": 120_000}

    # What is taken back again: an interval not said, another one, another nominal voltage.
    registry += [_row(f"withdrawn-{name}", day(3), 60) for name in ("steps", "anchors", "low")]
    first += _minutes("withdrawn-steps", day(3, 4), 20)
    first += _minutes("withdrawn-anchors", day(3, 5), 20)
    first += _minutes("withdrawn-low", day(3, 6), 20, range(5, 10))

    # A late reading takes the seq of one in the next hour, which then is a repetition.
    registry.append(_row("repeats", day(3), 60))
    first += _minutes("repeats", day(3, 8), 20)
    second.append(reading("repeats", day(3, 7, 59.5), 1001))

    # A late placeholder makes an hour irregular, so that the low readings of it and of the hours
    # beside it ask for their neighbours: low is the first or the last reading of an hour, so that
    # the neighbour lies up to two hours away.
    for name, begins, count, low, placeholder in (
        ("beside-before", day(3, 10), 300, 60, 150),
        ("beside-after", day(3, 10), 300, 239, 150),
        ("within-before", day(3, 15), 180, 60, 90),
        ("within-after", day(3, 15), 180, 119, 90),
    ):
        registry.append(_row(name, day(3), 60))
        rows = _minutes(name, begins, count, [low])
        second.append({**rows.pop(placeholder), "quality_flags": ["estimated"]})
        first += rows + _two_hours_more(name, day(3, 20))

    # A late reading ahead of its time: its seq lies among those of an hour four hours later.
    registry.append(_row("steps-back", day(4), 1))
    for hour in (1, 2, 3):
        first += [
            reading("steps-back", day(4, hour) + timedelta(seconds=n), 890 + 10 * hour + n)
            for n in (1, 2)
        ]
    for n in range(50):
        voltage_v = 200.0 if 10 <= n < 20 else 240.0
        at = day(4, 4) + timedelta(seconds=n)
        first.append(reading("steps-back", at, 950 + n, voltage_v))
    first += _two_hours_more("steps-back", day(4, 20))
    second.append(reading("steps-back", day(4, 0, 59) + timedelta(seconds=59), 1000))

    # Of five hours the second goes, and the irregular first is beside the third.
    registry.append(_row("loses-hour", day(5), 60))
    first += _minutes("loses-hour", day(5, 0), 240, [150])
    first[-220]["quality_flags"] = ["estimated"]

    registry.append(_row("calm", CALM_HOUR, 60))
    first += _minutes("calm", CALM_HOUR, 20, range(5, 10))

    # The newest hour: more is expected of the silent as the watermark moves, less as it goes back.
    registry += [
        _row(name, day(10, 12), 60, valid_to=None)
        for name in ("newest/a", "newest/silent", "until/a", "until/silent")
    ]
    first += _minutes("newest/a", day(10, 12), 20) + _minutes("until/a", day(10, 12), 10)
    second += [reading("newest/a", day(10, hour, 10), 270 + 60 * hour) for hour in (13, 14)]

    return SparseLake(
        first,
        second,
        registry,
        withdrawn={
            "int_touched_slot_windows+ int_probed_windows+": {
                "withdrawn-steps": {"sample_interval_ms": None},
                "withdrawn-low": {"nominal_voltage_v": 230.0},
            },
            "int_touched_windows+": {"withdrawn-anchors": {"sample_interval_ms": 120_000}},
            "voltage_events+": {"service/silent": {"valid_to": day(0, 12, 15)}},
        },
        changes=changes,
        removed=[day(5, 1), day(10, 14)],
    )
