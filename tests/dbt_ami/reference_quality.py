"""Brute force: takes a `Reference`, gives what the quality, daily health and dimension marts hold.

Loops over readings, windows and meters, from the definitions alone; slow on purpose.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import pstdev
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from .reference import HOUR_US, Reference, Row, _is_high, _score, at, us

TEN_US = 600_000_000
DAY_US = 24 * HOUR_US


def zone_of(reference: Reference, registry: list[Row], meter_id: str) -> str:
    """IANA zone of the meter: its own, else one of its pole's, else UTC."""
    own = [r["time_zone"] for r in registry if r["meter_id"] == meter_id and r["time_zone"]]
    pole_id = reference.service[meter_id].pole_id
    of_pole = [r["time_zone"] for r in registry if r["pole_id"] == pole_id and r["time_zone"]]
    return str([*own, *of_pole, "UTC"][0])


def ten_minutes_of(first: date, days: int, zone: str) -> int:
    """10-minute intervals of `days` local days from `first` on, counted one by one."""
    until = first + timedelta(days=days)
    moment = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
    count = 0
    while (local := moment.astimezone(ZoneInfo(zone)).date()) < until:
        count += local >= first
        moment += timedelta(minutes=10)
    return count


def hours_of_meters(reference: Reference) -> Iterator[tuple[str, str, int]]:
    """(meter, pole, hour) in service or covered by a stored reading, each once."""
    keys = {
        (meter_id, row["pole_id"], hour)
        for meter_id, rows in reference.by_meter.items()
        for row in rows
        for hour, _ in reference._pieces(row, HOUR_US)
    }
    for service in reference.service.values():
        for hour in range(reference.oldest_hour_us, service.to_us, HOUR_US):
            if reference._in_service_us(service.meter_id, hour, hour + HOUR_US) > 0:
                keys.add((service.meter_id, service.pole_id, hour))
    yield from sorted(keys)


def voltage_days(reference: Reference, registry: list[Row]) -> dict[tuple[str, date], Row]:
    """`voltage_quality_daily` by (meter, local date)."""
    zones = {m: zone_of(reference, registry, m) for m in reference.service}
    rms: dict[tuple[str, date], list[tuple[float, bool]]] = defaultdict(list)

    def local(meter_id: str, moment_us: int) -> date:
        return at(moment_us).astimezone(ZoneInfo(zones[meter_id])).date()

    for meter_id, _, hour in hours_of_meters(reference):
        _ = rms[meter_id, local(meter_id, hour)]
    for meter_id, rows in reference.by_meter.items():
        slots: dict[int, list[float]] = defaultdict(list)
        for row in rows:
            if row["received"]:
                slots[us(row["event_ts"]) // TEN_US * TEN_US].append(row["voltage_v"])
        nominal = reference.service[meter_id].nominal_voltage_v
        for slot, volts in slots.items():
            interval = reference.interval_us[meter_id]
            values = rms[meter_id, local(meter_id, slot)]
            if interval <= 60e6 and len(volts) * interval >= 0.9 * TEN_US:
                dark = any(v / nominal < 0.1 for v in volts)
                values.append((math.sqrt(sum(v * v for v in volts) / len(volts)), dark))
    return {key: _voltage_day(reference, key, zones[key[0]], values) for key, values in rms.items()}


def _voltage_day(
    reference: Reference, key: tuple[str, date], zone: str, values: list[tuple[float, bool]]
) -> Row:
    meter_id, day = key
    nominal = reference.service[meter_id].nominal_voltage_v
    ansi: dict[str, int] = {"a": 0, "b": 0, "out": 0}
    interrupted = within = wide = assessed = 0
    for value, dark in values:
        if nominal != 230:
            on_base = value * 120 / nominal
            inside_a, inside_b = 114 <= on_base <= 126, 110 <= on_base <= 127
            ansi["a" if inside_a else "b" if inside_b else "out"] += 1
        elif dark:
            interrupted += 1
        else:
            assessed += 1
            within += 207 <= value <= 253
            wide += 195.5 <= value <= 253
    judged = sum(ansi.values())
    status = "assessed" if values else "no_valid_interval"
    return {
        "time_zone": zone,
        "pole_id": reference.service[meter_id].pole_id,
        "nominal_voltage_v": nominal,
        "status": "not_assessable" if reference.interval_us[meter_id] > 60e6 else status,
        "day_intervals": ten_minutes_of(day, 1, zone),
        "valid_intervals": len(values),
        "ansi_intervals": judged,
        "range_a_intervals": ansi["a"],
        "range_b_intervals": ansi["b"],
        "out_intervals": ansi["out"],
        "range_a_share": ansi["a"] / judged if judged else None,
        "range_b_share": ansi["b"] / judged if judged else None,
        "out_share": ansi["out"] / judged if judged else None,
        "en50160_interrupted_intervals": interrupted,
        "en50160_intervals": assessed,
        "en50160_within_intervals": within,
        "en50160_within_wide_intervals": wide,
        "en50160_within_share": within / assessed if assessed else None,
        "min_rms_v": min((v for v, _ in values), default=None),
        "mean_rms_v": sum(v for v, _ in values) / len(values) if values else None,
        "max_rms_v": max((v for v, _ in values), default=None),
    }


def voltage_weeks(
    reference: Reference, days: dict[tuple[str, date], Row]
) -> dict[tuple[str, date], Row]:
    """`voltage_quality_weekly` by (meter, Monday), from `voltage_days`."""
    weeks: dict[tuple[str, date], list[Row]] = defaultdict(list)
    for (meter_id, day), row in days.items():
        if row["nominal_voltage_v"] == 230:
            weeks[meter_id, day - timedelta(days=day.weekday())].append(row)
    out: dict[tuple[str, date], Row] = {}
    for (meter_id, monday), rows in weeks.items():
        zone = rows[0]["time_zone"]
        total = ten_minutes_of(monday, 7, zone)
        assessed = sum(r["en50160_intervals"] for r in rows)
        within = sum(r["en50160_within_intervals"] for r in rows)
        wide = sum(r["en50160_within_wide_intervals"] for r in rows)
        after = monday + timedelta(days=7)
        end = datetime(after.year, after.month, after.day, tzinfo=ZoneInfo(zone))
        if reference.interval_us[meter_id] > 60e6:
            verdict = "not_assessable"
        elif assessed < 0.9 * total:
            verdict = "insufficient_data"
        else:
            verdict = "pass" if within >= 0.95 * assessed and wide == assessed else "fail"
        out[meter_id, monday] = {
            "iso_week": "{}-W{:02}".format(*monday.isocalendar()),
            "time_zone": zone,
            "pole_id": rows[0]["pole_id"],
            "is_complete": us(end) <= reference.watermark_us,
            "week_intervals": total,
            "valid_intervals": sum(r["valid_intervals"] for r in rows),
            "interrupted_intervals": sum(r["en50160_interrupted_intervals"] for r in rows),
            "assessed_intervals": assessed,
            "within_intervals": within,
            "within_wide_intervals": wide,
            "within_share": within / assessed if assessed else None,
            "min_rms_v": min((r["min_rms_v"] for r in rows if r["min_rms_v"]), default=None),
            "max_rms_v": max((r["max_rms_v"] for r in rows if r["max_rms_v"]), default=None),
            "verdict": verdict,
        }
    return out


@dataclass
class Day:
    """What one pole or feeder collects over a UTC day."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    samples: list[Row] = field(default_factory=list)
    sigmas: list[tuple[int, float, float]] = field(default_factory=list)
    power: list[tuple[float, float, float]] = field(default_factory=list)
    ratings: dict[str, float | None] = field(default_factory=dict)
    rated_known: bool = True
    poles: set[str] = field(default_factory=set)
    poles_reporting: set[str] = field(default_factory=set)


def health_days(reference: Reference, unit: str) -> dict[tuple[str, datetime], Row]:
    """`pole_health_daily` or `feeder_health_daily` by (`pole_id` or `feeder_id`, day)."""
    feeder_of = {s.pole_id: s.feeder_id for s in reference.service.values() if s.feeder_id}
    unit_of = feeder_of if unit == "feeder_id" else {p: p for p in _poles(reference)}
    lost, received = reference._lost(), _received(reference)
    covered = reference._covered(DAY_US)
    keys: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for meter_id, pole_id, hour in hours_of_meters(reference):
        keys[meter_id, pole_id, hour // DAY_US * DAY_US].append(hour)
    days: dict[tuple[str, int], Day] = defaultdict(Day)
    for (meter_id, pole_id, day), hours in keys.items():
        if pole_id not in unit_of:
            continue
        service, out = reference.service[meter_id], days[unit_of[pole_id], day]
        interval = reference.interval_us[meter_id]
        rows = [r for hour in hours for r in received[meter_id, hour]]
        own_us = reference._in_service_us(meter_id, day, day + DAY_US)
        in_service = own_us > 0 and service.pole_id == pole_id
        expected = math.floor(own_us / interval + 0.5) if in_service else 0
        missing = max(0, expected - len(rows))
        holes = 0
        for hour in hours:
            hour_us = reference._in_service_us(meter_id, hour, hour + HOUR_US)
            due = math.floor(hour_us / interval + 0.5) if in_service else 0
            holes += min(lost[meter_id, hour], max(0, due - len(received[meter_id, hour])))
        out.counts["expected"] += expected
        out.counts["received"] += len(rows)
        out.counts["missing"] += missing
        out.counts["lost"] += min(missing, holes)
        out.counts["not_sampled"] += missing - min(missing, holes)
        out.counts["meters_registered"] += in_service and service.is_registered
        out.counts["meters_reporting"] += bool(rows)
        out.counts["meters_unregistered"] += bool(rows) and not (
            in_service and service.is_registered
        )
        out.poles.add(pole_id)
        out.samples += rows
        if rows:
            out.poles_reporting.add(pole_id)
            sigma = pstdev(r["voltage_v"] for r in rows)
            out.sigmas.append((len(rows), sigma, sigma / service.nominal_voltage_v))
        if cell := covered.get((pole_id, meter_id, day)):
            out.power.append((cell[1] / cell[0], cell[2] / cell[0], cell[1] / 3.6e9))
        if in_service:
            out.ratings[service.transformer_id or pole_id] = service.rated_kva
            out.rated_known &= service.rated_kva is not None
    peaks, intervals = _peaks(reference, unit_of), _intervals(reference, received, unit_of)
    return {
        (name, at(day)): _health_day(
            reference, unit_of, name, day, out, peaks[name, day], intervals[name, day]
        )
        for (name, day), out in days.items()
    }


def _poles(reference: Reference) -> set[str]:
    named = {r["pole_id"] for rows in reference.by_meter.values() for r in rows}
    return named | {s.pole_id for s in reference.service.values()}


def _received(reference: Reference) -> dict[tuple[str, int], list[Row]]:
    received: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for meter_id, rows in reference.by_meter.items():
        for row in rows:
            if row["received"]:
                received[meter_id, us(row["event_ts"]) // HOUR_US * HOUR_US].append(row)
    return received


def _peaks(reference: Reference, unit_of: dict[str, Any]) -> dict[tuple[str, int], list[float]]:
    minute_kw: dict[tuple[str, int], float] = defaultdict(float)
    for (pole_id, _, minute), cell in reference._covered(60_000_000).items():
        if cell[0] >= 0.8 * 60e6 and pole_id in unit_of:
            minute_kw[unit_of[pole_id], minute] += cell[1] / cell[0]
    peaks: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (name, minute), kw in minute_kw.items():
        peaks[name, minute // DAY_US * DAY_US].append(kw)
    return peaks


def _intervals(
    reference: Reference,
    received: dict[tuple[str, int], list[Row]],
    unit_of: dict[str, Any],
) -> dict[tuple[str, int], tuple[int, int]]:
    found: dict[tuple[str, int], tuple[int, int]] = defaultdict(lambda: (0, 0))
    by_hour: dict[tuple[str, str, int], list[Row]] = {
        (rows[0]["pole_id"], meter_id, hour): rows
        for (meter_id, hour), rows in received.items()
        if rows
    }
    for pole_id, meter_id, hour in by_hour:
        if pole_id in unit_of:
            valid, outside = reference._ten_minutes(pole_id, hour, {meter_id}, by_hour)
            key = unit_of[pole_id], hour // DAY_US * DAY_US
            found[key] = found[key][0] + valid, found[key][1] + outside
    return found


def _health_day(
    reference: Reference,
    unit_of: dict[str, Any],
    name: str,
    day: int,
    out: Day,
    peaks: list[float],
    intervals: tuple[int, int],
) -> Row:
    counts, samples, count = out.counts, out.samples, len(out.samples)
    volts = [r["voltage_v"] for r in samples]
    latencies: dict[int, list[float]] = defaultdict(list)
    for r in samples:
        latencies[us(r["event_ts"]) // 3_600_000_000].append(
            (us(r["ingest_ts"]) - us(r["event_ts"])) / 1e6
        )
    by_hour = list(latencies.values())
    kw = sum(p for p, _, _ in out.power) if out.power else None
    kvar = sum(q for _, q, _ in out.power)
    rated = sum(v or 0 for v in out.ratings.values()) if out.ratings and out.rated_known else None
    loading = math.hypot(kw, kvar) / rated if rated and kw is not None else None
    loading = None if loading is not None and math.isnan(loading) else loading
    events = [e for e in reference.events if unit_of.get(e["pole_id"]) == name]
    starting = [e["severity"] for e in events if us(e["start_ts"]) // DAY_US * DAY_US == day]
    touched = {
        e["meter_id"]
        for e in events
        if us(e["start_ts"]) < day + DAY_US
        and day < us(e["end_ts"]) + reference.interval_us[e["meter_id"]]
    }
    valid, outside = intervals
    reporting = counts["meters_reporting"]
    rate = counts["missing"] / counts["expected"] if counts["expected"] else None
    parts = {
        "score_voltage": max(0.0, 1 - outside / valid / 0.05) if valid else None,
        "score_events": max(0.0, 1 - len(touched) / reporting) if reporting else None,
        "score_data": None if rate is None else max(0.0, 1 - rate / 0.10),
        "score_loading": None
        if loading is None
        else max(0.0, min(1.0, (1.5 - loading) / (1.5 - 0.8))),
    }
    return {
        **counts,
        "poles": len(out.poles),
        "poles_reporting": len(out.poles_reporting),
        "missing_rate": rate,
        "pct_low": 100 * sum(r["low"] for r in samples) / count if count else None,
        "pct_high": 100 * sum(_is_high(r) for r in samples) / count if count else None,
        "min_voltage_v": min(volts, default=None),
        "mean_voltage_v": sum(volts) / count if count else None,
        "max_voltage_v": max(volts, default=None),
        "volatility_v": sum(n * s for n, s, _ in out.sigmas) / count if count else None,
        "volatility_pu": sum(n * s for n, _, s in out.sigmas) / count if count else None,
        "valid_10min_intervals": valid,
        "intervals_out_of_limits": outside,
        "share_out_of_limits": outside / valid if valid else None,
        "mean_kw": kw,
        "peak_kw": max(peaks, default=None),
        "energy_kwh": sum(e for _, _, e in out.power) if out.power else None,
        "loading": loading,
        "events_minor": starting.count("minor"),
        "events_major": starting.count("major"),
        "events_critical": starting.count("critical"),
        "meters_with_event": len(touched),
        "worst_hour_latency_median_s": max(
            (float(np.percentile(x, 50)) for x in by_hour), default=None
        ),
        "worst_hour_latency_p95_s": max(
            (float(np.percentile(x, 95)) for x in by_hour), default=None
        ),
        **parts,
        "score": _score(parts, rate, reporting),
    }


def data_quality(reference: Reference, stored: list[Row]) -> dict[tuple[str, datetime], Row]:
    """`meter_data_quality_hourly` by (meter, hour); a meter of the fleet has one pole."""
    lost, received = reference._lost(), _received(reference)
    kept = {
        (r["meter_id"], r["seq"], r["event_ts"]): r
        for rows in reference.by_meter.values()
        for r in rows
    }
    copies: dict[tuple[str, int], dict[tuple[int, datetime], list[Row]]] = defaultdict(dict)
    for row in stored:
        hour = us(row["event_ts"]) // HOUR_US * HOUR_US
        of_hour = copies[row["meter_id"], hour]
        of_hour.setdefault((row["seq"], row["event_ts"]), []).append(row)
    out: dict[tuple[str, datetime], Row] = {}
    keys = {(meter_id, hour): pole for meter_id, pole, hour in hours_of_meters(reference)}
    for (meter_id, hour), pole_id in keys.items():
        service, rows = reference.service[meter_id], received[meter_id, hour]
        own_us = reference._in_service_us(meter_id, hour, hour + HOUR_US)
        expected = math.floor(own_us / reference.interval_us[meter_id] + 0.5)
        missing = max(0, expected - len(rows))
        groups = copies[meter_id, hour]
        conflicting = estimated = placeholder = 0
        for group in groups.values():
            best = min(group, key=lambda r: (r["ingest_ts"], r["voltage_v"]))
            conflicting += sum(r["voltage_v"] != best["voltage_v"] for r in group)
        known = [kept[meter_id, seq, ts] for seq, ts in groups if (meter_id, seq, ts) in kept]
        for row in known:
            estimated += "estimated" in row["quality_flags"]
            placeholder += row["quality_flags"] == ["missing_sample"]
        latencies = [(us(r["ingest_ts"]) - us(r["event_ts"])) / 1e6 for r in rows]
        stored_rows = sum(len(group) for group in groups.values())
        out[meter_id, at(hour)] = {
            "pole_id": pole_id,
            "is_in_service": own_us > 0,
            "is_registered": own_us > 0 and service.is_registered,
            "expected": expected,
            "received": len(rows),
            "missing": missing,
            "lost": min(missing, lost[meter_id, hour]),
            "not_sampled": missing - min(missing, lost[meter_id, hour]),
            "coverage": min(1.0, len(rows) / expected) if expected else None,
            "late": sum(latency > 120 for latency in latencies),
            "estimated_readings": estimated,
            "placeholder_readings": placeholder,
            "stored_rows": stored_rows,
            "duplicates": stored_rows - len(groups),
            "conflicting_copies": conflicting,
            "repeated_seq": len(groups) - len(known),
            "conflicts": conflicting + len(groups) - len(known),
            "latency_median_s": float(np.percentile(latencies, 50)) if rows else None,
            "latency_p95_s": float(np.percentile(latencies, 95)) if rows else None,
            "latency_max_s": max(latencies, default=None),
        }
    return out
