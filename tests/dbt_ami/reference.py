"""Brute force: takes stored readings and the registry, gives what the marts must hold.

Written from the definitions with plain loops over readings, to judge the SQL; slow on purpose.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median, pstdev
from typing import Any

import numpy as np

from .reference_dr import MeterSlot, World, fill_pole_power

Row = dict[str, Any]
HOUR_US = 3_600_000_000


def us(instant: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def at(microseconds: int) -> datetime:
    """Instant of `us`."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


@dataclass
class Service:
    """Service of a meter as the registry has it, or as its readings suggest."""

    meter_id: str
    pole_id: str
    feeder_id: str | None
    transformer_id: str | None
    nominal_voltage_v: float
    rated_kva: float | None
    from_us: int
    to_us: int
    is_registered: bool


class Reference:
    """All results over one lake.

    Args:
        stored: every stored row, copies included.
        registry: registry rows, one per meter.
    """

    def __init__(self, stored: list[Row], registry: list[Row]) -> None:
        kept = self._without_copies(stored)
        self.by_meter: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(kept, key=lambda r: (r["event_ts"], r["seq"])):
            self.by_meter[row["meter_id"]].append(row)
        self.watermark_us = max(us(r["event_ts"]) for r in kept)
        self.oldest_hour_us = min(us(r["event_ts"]) for r in kept) // HOUR_US * HOUR_US
        self.interval_us = self._intervals(registry)
        self._number_epochs()
        self._drop_repeated_seq()
        self.service = self._services(registry)
        for meter_id, rows in self.by_meter.items():
            nominal = self.service[meter_id].nominal_voltage_v
            for row in rows:
                row["nominal"] = nominal
                row["received"] = not {"estimated", "missing_sample"} & set(row["quality_flags"])
                row["low"] = row["voltage_v"] < 220.0 * nominal / 240.0
        self.events = self._events()
        self._add_scopes()

    @staticmethod
    def _without_copies(stored: list[Row]) -> list[Row]:
        best: dict[tuple[str, int, datetime], Row] = {}
        for row in stored:
            key = (row["meter_id"], row["seq"], row["event_ts"])
            rank = (row["ingest_ts"], row["voltage_v"])
            if key not in best or rank < (best[key]["ingest_ts"], best[key]["voltage_v"]):
                best[key] = row
        return [dict(row) for row in best.values()]

    def _intervals(self, registry: list[Row]) -> dict[str, int]:
        known = {
            r["meter_id"]: r["sample_interval_ms"] * 1000
            for r in registry
            if r["sample_interval_ms"]
        }
        for meter_id, rows in self.by_meter.items():
            if meter_id not in known:
                steps = [
                    us(b["event_ts"]) - us(a["event_ts"])
                    for a, b in pairwise(rows)
                    if b["seq"] - a["seq"] == 1
                ]
                known[meter_id] = round(median(steps) / 1000) * 1000
        return known | {r["meter_id"]: 1_000_000 for r in registry if r["meter_id"] not in known}

    def _number_epochs(self) -> None:
        for meter_id, rows in self.by_meter.items():
            interval, epoch, before = self.interval_us[meter_id], 0, None
            for row in rows:
                anchor = us(row["event_ts"]) - row["seq"] * interval
                if before is not None:
                    jump = anchor - (us(before["event_ts"]) - before["seq"] * interval)
                    restarted = row["seq"] < before["seq"] and jump > max(300e6, 2 * interval)
                    epoch += restarted or "clock_reset" in row["quality_flags"]
                row["epoch"] = epoch
                before = row

    def _drop_repeated_seq(self) -> None:
        for meter_id, rows in self.by_meter.items():
            first: dict[tuple[int, int], Row] = {}
            for row in rows:
                first.setdefault((row["epoch"], row["seq"]), row)
            self.by_meter[meter_id] = list(first.values())

    def _services(self, registry: list[Row]) -> dict[str, Service]:
        far = us(datetime(9999, 1, 1, tzinfo=UTC))
        services = {
            r["meter_id"]: Service(
                r["meter_id"],
                r["pole_id"],
                r["feeder_id"],
                r["transformer_id"],
                r["nominal_voltage_v"],
                r["rated_kva"],
                us(r["valid_from"]),
                us(r["valid_to"]) if r["valid_to"] else far,
                True,
            )
            for r in registry
        }
        for meter_id, rows in self.by_meter.items():
            if meter_id not in services:
                services[meter_id] = Service(
                    meter_id,
                    rows[-1]["pole_id"],
                    None,
                    None,
                    240.0,
                    None,
                    us(rows[0]["event_ts"]),
                    far,
                    False,
                )
        for service in services.values():
            end = self.watermark_us
            if own := self.by_meter.get(service.meter_id):
                end = max(end, us(own[-1]["event_ts"]) + self.interval_us[service.meter_id])
            service.from_us = max(service.from_us, self.oldest_hour_us)
            service.to_us = min(service.to_us, end)
        return services

    def _runs_on(self, before: Row, after: Row) -> bool:
        interval = self.interval_us[after["meter_id"]]
        slip = us(after["event_ts"]) - us(before["event_ts"])
        slip -= (after["seq"] - before["seq"]) * interval
        return abs(slip) <= max(1e6, interval / 2)

    def _low_runs(self, meter_id: str) -> list[tuple[Row | None, list[Row], Row | None]]:
        """(received reading before, low readings, received reading after) in seq order."""
        interval = self.interval_us[meter_id]
        runs: list[tuple[Row | None, list[Row], Row | None]] = []
        epochs: dict[int, list[Row]] = defaultdict(list)
        for row in self.by_meter[meter_id]:
            if row["received"]:
                epochs[row["epoch"]].append(row)
        for rows in epochs.values():
            rows.sort(key=lambda r: r["seq"])
            current: list[Row] = []
            before: Row | None = None
            for previous, row in zip([None, *rows], rows, strict=False):
                joins = (
                    bool(current)
                    and row["low"]
                    and (row["seq"] - current[-1]["seq"] - 1) * interval <= 5e6
                    and self._runs_on(current[-1], row)
                )
                if joins:
                    current.append(row)
                    continue
                if current:
                    runs.append((before, current, row))
                current, before = ([row], previous) if row["low"] else ([], None)
            if current:
                runs.append((before, current, None))
        return runs

    def _events(self) -> list[Row]:
        events = []
        for meter_id in self.by_meter:
            interval = self.interval_us[meter_id]
            newest = max(r["event_ts"] for r in self.by_meter[meter_id] if r["received"])
            for before, run, after in self._low_runs(meter_id):
                first, last = run[0], run[-1]
                span = last["seq"] - first["seq"] + 1
                duration_s = span * interval / 1e6
                if duration_s < 5 or len(run) < min(2, math.ceil(5e6 / interval)):
                    continue
                recovered = (
                    after is not None
                    and after["seq"] == last["seq"] + 1
                    and self._runs_on(last, after)
                )
                gasps = [r["seq"] for r in run if "last_gasp" in r["quality_flags"]]
                dark = bool(gasps) and not any(
                    r["seq"] > gasps[-1] and r["voltage_v"] >= 0.1 * r["nominal"] for r in run
                )
                fresh = self.watermark_us - us(last["event_ts"]) <= interval + 120e6
                if recovered:
                    ended_by = "recovery"
                elif dark:
                    ended_by = "outage"
                elif last["event_ts"] == newest and fresh:
                    ended_by = "open"
                else:
                    ended_by = "gap"
                volts = [r["voltage_v"] for r in run]
                pu = min(volts) / first["nominal"]
                key = f"{meter_id}|{us(first['event_ts'])}|{first['seq']}"
                events.append(
                    {
                        "event_id": hashlib.md5(key.encode()).hexdigest(),
                        "meter_id": meter_id,
                        "pole_id": first["pole_id"],
                        "start_ts": first["event_ts"],
                        "end_ts": last["event_ts"],
                        "duration_s": duration_s,
                        "min_voltage_v": min(volts),
                        "mean_voltage_v": sum(volts) / len(volts),
                        "min_voltage_pu": pu,
                        "sample_count": len(run),
                        "missing_count": span - len(run),
                        "evidence": "observed" if len(run) * interval >= 5e6 else "inferred",
                        "coarse": interval > 5e6,
                        "truncated_start": not (
                            before is not None
                            and before["seq"] == first["seq"] - 1
                            and self._runs_on(before, first)
                        ),
                        "truncated_end": ended_by != "recovery",
                        "ended_by": ended_by,
                        "is_open": ended_by == "open",
                        "severity": _severity(pu, duration_s),
                        "ieee1159_class": _ieee1159_class(pu, duration_s),
                    }
                )
        return events

    def _reporting(self, pole_id: str, hour_us: int) -> set[str]:
        return {
            meter_id
            for meter_id, rows in self.by_meter.items()
            if any(
                r["received"]
                and r["pole_id"] == pole_id
                and us(r["event_ts"]) // HOUR_US * HOUR_US == hour_us
                for r in rows
            )
        }

    def _groups(self, starts: list[tuple[int, int, Any]]) -> list[list[tuple[int, int, Any]]]:
        """Chains of (start, interval, thing) in which each follows the one before closely."""
        groups: list[list[tuple[int, int, Any]]] = []
        for start in sorted(starts, key=lambda s: (s[0], s[1], str(s[2]))):
            if groups:
                before = groups[-1][-1]
                window = max(3_000_000, 2 * start[1], 2 * before[1])
                if start[0] - before[0] <= window:
                    groups[-1].append(start)
                    continue
            groups.append([start])
        return groups

    def _add_scopes(self) -> None:
        by_pole: dict[str, list[Row]] = defaultdict(list)
        for event in self.events:
            by_pole[event["pole_id"]].append(event)
        reporting: dict[tuple[str, int], set[str]] = {}
        for pole_id in {r["pole_id"] for rows in self.by_meter.values() for r in rows}:
            for hour in range(self.oldest_hour_us, self.watermark_us + 1, HOUR_US):
                reporting[pole_id, hour] = self._reporting(pole_id, hour)
        feeder_of = {
            s.pole_id: s.feeder_id for s in self.service.values() if s.feeder_id is not None
        }
        affected: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        for pole_id, events in by_pole.items():
            by_id = {e["event_id"]: e for e in events}
            starts = [
                (us(e["start_ts"]), self.interval_us[e["meter_id"]], e["event_id"]) for e in events
            ]
            for number, group in enumerate(self._groups(starts)):
                members = [by_id[event_id] for _, _, event_id in group]
                meters = {e["meter_id"] for e in members}
                present = len(reporting[pole_id, group[0][0] // HOUR_US * HOUR_US])
                wide = len(meters) >= 0.5 * present
                scope = "pole" if wide and len(meters) >= 2 else "meter"
                for event in members:
                    event["scope"] = "undetermined" if present == 1 else scope
                if wide and pole_id in feeder_of:
                    longest = max(interval for _, interval, _ in group)
                    thing = (pole_id, number, tuple(e["event_id"] for e in members))
                    affected[feeder_of[pole_id]].append((group[0][0], longest, thing))
        everything = {e["event_id"]: e for e in self.events}
        for feeder, starts in affected.items():
            for group in self._groups(starts):
                poles = {thing[0] for _, _, thing in group}
                hour = group[0][0] // HOUR_US * HOUR_US
                present = sum(
                    1
                    for pole_id, of in feeder_of.items()
                    if of == feeder and reporting.get((pole_id, hour))
                )
                if len(poles) >= 2 and len(poles) >= 0.5 * present:
                    for _, _, thing in group:
                        for event_id in thing[2]:
                            everything[event_id]["scope"] = "feeder"

    def _pieces(self, row: Row, slot_us: int) -> list[tuple[int, int]]:
        """(slot start, microseconds) that the reading covers."""
        start = us(row["event_ts"])
        end = start + self.interval_us[row["meter_id"]]
        slot = start // slot_us * slot_us
        pieces = []
        while slot < end:
            pieces.append((slot, min(end, slot + slot_us) - max(start, slot)))
            slot += slot_us
        return pieces

    def _covered(self, slot_us: int) -> dict[tuple[str, str, int], list[float]]:
        """(pole, meter, slot) → [covered µs, kW·µs, kvar·µs or nan]."""
        covered: dict[tuple[str, str, int], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for meter_id, rows in self.by_meter.items():
            for row in rows:
                if row["received"]:
                    for slot, length in self._pieces(row, slot_us):
                        cell = covered[row["pole_id"], meter_id, slot]
                        kvar = row["reactive_kvar"]
                        cell[0] += length
                        cell[1] += row["power_kw"] * length
                        cell[2] += math.nan if kvar is None else kvar * length
        return covered

    def _in_service_us(self, meter_id: str, start: int, end: int) -> int:
        service = self.service[meter_id]
        return max(0, min(end, service.to_us) - max(start, service.from_us))

    def outages(self) -> dict[str, list[tuple[datetime, datetime]]]:
        """Confirmed outages by meter, from last gasp to return or watermark."""
        found: dict[str, list[tuple[datetime, datetime]]] = {}
        for meter_id, rows in self.by_meter.items():
            start = None
            found[meter_id] = []
            for row in (r for r in rows if r["received"]):
                if start is not None and row["voltage_v"] >= 0.1 * row["nominal"]:
                    found[meter_id].append((start, row["event_ts"]))
                    start = None
                if "last_gasp" in row["quality_flags"] and start is None:
                    start = row["event_ts"]
            if start is not None:
                found[meter_id].append((start, at(self.watermark_us)))
        return found

    def five_minutes(self) -> dict[tuple[str, datetime], Row]:
        """`v_5min_pole` by (pole, slot)."""
        slot_us = 300_000_000
        covered = self._covered(slot_us)
        outages = self.outages()
        meters_of: dict[str, set[str]] = defaultdict(set)
        for service in self.service.values():
            meters_of[service.pole_id].add(service.meter_id)
        for pole_id, meter_id, _ in covered:
            meters_of[pole_id].add(meter_id)
        volts: dict[tuple[str, int], list[float]] = defaultdict(list)
        days = {(pole_id, slot // (24 * HOUR_US)) for pole_id, _, slot in covered}
        for rows in self.by_meter.values():
            for row in rows:
                days.add((row["pole_id"], us(row["event_ts"]) // (24 * HOUR_US)))
                if row["received"]:
                    slot = us(row["event_ts"]) // slot_us * slot_us
                    volts[row["pole_id"], slot].append(row["voltage_v"])
        meters: dict[tuple[str, str], dict[datetime, MeterSlot]] = defaultdict(dict)
        for pole_id, day in days:
            for slot in range(day * 24 * HOUR_US, (day + 1) * 24 * HOUR_US, slot_us):
                for meter_id in meters_of[pole_id]:
                    own_us = self._in_service_us(meter_id, slot, slot + slot_us)
                    cell = covered.get((pole_id, meter_id, slot))
                    if cell is not None or own_us > 0:
                        read_us, energy, _ = cell or (0, 0.0, 0.0)
                        meters[pole_id, meter_id][at(slot)] = MeterSlot(
                            energy / 3.6e9, read_us / 1e6, own_us / 1e6
                        )
        world = World({pole: "UTC" for pole, _ in meters}, meters, outages, set(), [])
        values = fill_pole_power(world)
        out: dict[tuple[str, datetime], Row] = {}
        for pole_id, slots in world.pole_kw.items():
            for slot_ts, dr_power_kw in slots.items():
                of_slot = [
                    (values[key][slot_ts], meters[key][slot_ts])
                    for key in meters
                    if key[0] == pole_id and slot_ts in meters[key]
                ]
                present = [(v, m) for v, m in of_slot if m.in_service_s > 0]
                kws = [v[2] for v, _ in of_slot if v[2] is not None]
                service_s = sum(m.in_service_s for _, m in of_slot)
                samples = volts[pole_id, us(slot_ts)]
                out[pole_id, slot_ts] = {
                    "power_kw": sum(kws) if kws else None,
                    "kwh": sum(kws) / 12 if kws else None,
                    "covered_kwh": sum(m.covered_kwh for _, m in of_slot),
                    "measured_meters": sum(v[0] == "measured" for v, _ in present),
                    "estimated_meters": sum(v[0] == "estimated" for v, _ in present),
                    "missing_meters": sum(v[0] == "missing" for v, _ in present),
                    "meters_in_service": len(present),
                    "coverage": sum(min(m.covered_s, m.in_service_s) for _, m in of_slot)
                    / service_s
                    if service_s
                    else None,
                    "dr_power_kw": dr_power_kw if kws else None,
                    "readings": len(samples),
                    "min_voltage_v": min(samples, default=None),
                    "mean_voltage_v": sum(samples) / len(samples) if samples else None,
                    "max_voltage_v": max(samples, default=None),
                }
        return out

    def minutes(self) -> dict[tuple[str, datetime], Row]:
        """`minute_agg_pole` by (pole, minute)."""
        minute_us = 60_000_000
        covered = self._covered(minute_us)
        volts: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(dict)
        touched: set[tuple[str, int]] = set()
        for meter_id, rows in self.by_meter.items():
            for row in rows:
                touched |= {(row["pole_id"], m) for m, _ in self._pieces(row, minute_us)}
                if row["received"]:
                    minute = us(row["event_ts"]) // minute_us * minute_us
                    of_pole = volts[row["pole_id"], minute]
                    of_pole.setdefault(meter_id, []).append(row["voltage_v"])
        out: dict[tuple[str, datetime], Row] = {}
        for pole_id, hour in {(pole_id, minute // HOUR_US) for pole_id, minute in touched}:
            on_pole = {m for pole, m, _ in covered if pole == pole_id}
            on_pole |= {s.meter_id for s in self.service.values() if s.pole_id == pole_id}
            for minute in range(hour * HOUR_US, (hour + 1) * HOUR_US, minute_us):
                means = []
                covered_us = service_us = in_service = 0
                for meter_id in on_pole:
                    own_us = self._in_service_us(meter_id, minute, minute + minute_us)
                    length, kw_us, _ = covered.get((pole_id, meter_id, minute), (0, 0.0, 0.0))
                    in_service += own_us > 0
                    service_us += own_us
                    covered_us += min(length, own_us)
                    if length >= 48_000_000:
                        means.append(kw_us / length)
                reporting = volts[pole_id, minute]
                samples = [v for values in reporting.values() for v in values]
                if not in_service and (pole_id, minute) not in touched:
                    continue
                out[pole_id, at(minute)] = {
                    "mean_voltage_v": sum(samples) / len(samples) if samples else None,
                    "min_voltage_v": min(samples, default=None),
                    "max_voltage_v": max(samples, default=None),
                    "power_kw": sum(means) if means else None,
                    "readings": len(samples),
                    "meters_reporting": len(reporting),
                    "measured_meters": len(means),
                    "meters_in_service": in_service,
                    "coverage": covered_us / service_us if service_us else None,
                }
        return out

    def _lost(self) -> dict[tuple[str, int], int]:
        """Holes in seq by (meter, hour in which the sample would have been taken)."""
        lost: dict[tuple[str, int], int] = defaultdict(int)
        for meter_id, rows in self.by_meter.items():
            interval = self.interval_us[meter_id]
            ordered = sorted(rows, key=lambda r: (r["epoch"], r["seq"]))
            for before, after in pairwise(ordered):
                if before["epoch"] == after["epoch"]:
                    for step in range(1, after["seq"] - before["seq"]):
                        moment = us(before["event_ts"]) + step * interval
                        lost[meter_id, moment // HOUR_US * HOUR_US] += 1
        return lost

    def health(self) -> dict[tuple[str, datetime], Row]:
        """`pole_health_hourly` by (pole, hour)."""
        covered_minutes = self._covered(60_000_000)
        covered_hours = self._covered(HOUR_US)
        lost = self._lost()
        received: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
        keys: set[tuple[str, str, int]] = set(covered_hours)
        for meter_id, rows in self.by_meter.items():
            for row in rows:
                key = (row["pole_id"], meter_id, us(row["event_ts"]) // HOUR_US * HOUR_US)
                keys.add(key)
                if row["received"]:
                    received[key].append(row)
        end = max(s.to_us for s in self.service.values())
        for hour in range(self.oldest_hour_us, end, HOUR_US):
            for service in self.service.values():
                if self._in_service_us(service.meter_id, hour, hour + HOUR_US) > 0:
                    keys.add((service.pole_id, service.meter_id, hour))
        minute_kw: dict[tuple[str, int], float] = defaultdict(float)
        for (pole_id, _, minute), cell in covered_minutes.items():
            if cell[0] >= 0.8 * 60e6:
                minute_kw[pole_id, minute] += cell[1] / cell[0]
        by_pole: dict[tuple[str, int], set[str]] = defaultdict(set)
        for pole_id, meter_id, hour in keys:
            by_pole[pole_id, hour].add(meter_id)
        return {
            (pole_id, at(hour)): self._pole_hour(
                pole_id, hour, meters, received, lost, covered_hours, minute_kw
            )
            for (pole_id, hour), meters in by_pole.items()
        }

    def _pole_hour(
        self,
        pole_id: str,
        hour: int,
        meters: set[str],
        received: dict[tuple[str, str, int], list[Row]],
        lost: dict[tuple[str, int], int],
        covered: dict[tuple[str, str, int], list[float]],
        minute_kw: dict[tuple[str, int], float],
    ) -> Row:
        out: Row = defaultdict(int)
        samples: list[Row] = []
        sigma_v = sigma_pu = kw = kvar = energy = 0.0
        any_covered = False
        ratings: dict[str, float | None] = {}
        rated_known = True
        for meter_id in meters:
            rows = received[pole_id, meter_id, hour]
            service = self.service[meter_id]
            own_us = self._in_service_us(meter_id, hour, hour + HOUR_US)
            in_service = own_us > 0 and service.pole_id == pole_id
            expected = math.floor(own_us / self.interval_us[meter_id] + 0.5) if in_service else 0
            missing = max(0, expected - len(rows))
            holes = min(missing, lost[meter_id, hour])
            out["expected"] += expected
            out["received"] += len(rows)
            out["missing"] += missing
            out["lost"] += holes
            out["not_sampled"] += missing - holes
            out["meters_reporting"] += bool(rows)
            out["meters_registered"] += in_service and service.is_registered
            out["meters_unregistered"] += bool(rows) and not (in_service and service.is_registered)
            samples += rows
            if rows:
                sigma = pstdev(r["voltage_v"] for r in rows)
                sigma_v += sigma * len(rows)
                sigma_pu += sigma * len(rows) / rows[0]["nominal"]
            if cell := covered.get((pole_id, meter_id, hour)):
                any_covered = True
                energy += cell[1] / 3.6e9
                kw += cell[1] / cell[0]
                kvar += cell[2] / cell[0]
            if in_service:
                ratings[service.transformer_id or pole_id] = service.rated_kva
                rated_known &= service.rated_kva is not None
        count = len(samples)
        volts = [r["voltage_v"] for r in samples]
        latencies = [(us(r["ingest_ts"]) - us(r["event_ts"])) / 1e6 for r in samples]
        rated = sum(v or 0 for v in ratings.values()) if ratings and rated_known else None
        loading = math.hypot(kw, kvar) / rated if rated and any_covered else None
        if loading is not None and math.isnan(loading):
            loading = None
        valid, outside = self._ten_minutes(pole_id, hour, meters, received)
        starting = [
            e["severity"]
            for e in self.events
            if e["pole_id"] == pole_id and us(e["start_ts"]) // HOUR_US * HOUR_US == hour
        ]
        touched = {
            e["meter_id"]
            for e in self.events
            if e["pole_id"] == pole_id
            and us(e["start_ts"]) < hour + HOUR_US
            and hour < us(e["end_ts"]) + self.interval_us[e["meter_id"]]
        }
        rate = out["missing"] / out["expected"] if out["expected"] else None
        share = outside / valid if valid else None
        reporting = out["meters_reporting"]
        parts = {
            "score_voltage": None if share is None else max(0.0, 1 - share / 0.05),
            "score_events": max(0.0, 1 - len(touched) / reporting) if reporting else None,
            "score_data": None if rate is None else max(0.0, 1 - rate / 0.10),
            "score_loading": None
            if loading is None
            else max(0.0, min(1.0, (1.5 - loading) / (1.5 - 0.8))),
        }
        peaks = [
            minute_kw[pole_id, minute]
            for minute in range(hour, hour + HOUR_US, 60_000_000)
            if (pole_id, minute) in minute_kw
        ]
        return {
            **{name: int(value) for name, value in out.items()},
            "missing_rate": rate,
            "pct_low": 100 * sum(r["low"] for r in samples) / count if count else None,
            "pct_high": 100 * sum(_is_high(r) for r in samples) / count if count else None,
            "min_voltage_v": min(volts, default=None),
            "mean_voltage_v": sum(volts) / count if count else None,
            "max_voltage_v": max(volts, default=None),
            "volatility_v": sigma_v / count if count else None,
            "volatility_pu": sigma_pu / count if count else None,
            "valid_10min_intervals": valid,
            "share_out_of_limits": share,
            "mean_kw": kw if any_covered else None,
            "peak_kw": max(peaks, default=None),
            "energy_kwh": energy if any_covered else None,
            "loading": loading,
            "events_minor": starting.count("minor"),
            "events_major": starting.count("major"),
            "events_critical": starting.count("critical"),
            "meters_with_event": len(touched),
            "latency_median_s": float(np.percentile(latencies, 50)) if count else None,
            "latency_p95_s": float(np.percentile(latencies, 95)) if count else None,
            **parts,
            "score": _score(parts, rate, reporting),
        }

    def _ten_minutes(
        self,
        pole_id: str,
        hour: int,
        meters: set[str],
        received: dict[tuple[str, str, int], list[Row]],
    ) -> tuple[int, int]:
        """Valid 10-minute intervals of the hour and how many are out of limits."""
        valid = outside = 0
        for meter_id in meters:
            interval = self.interval_us[meter_id]
            slots: dict[int, list[Row]] = defaultdict(list)
            for row in received[pole_id, meter_id, hour]:
                slots[us(row["event_ts"]) // 600_000_000].append(row)
            for rows in slots.values():
                if interval > 60e6 or len(rows) * interval < 0.9 * 600e6:
                    continue
                rms = math.sqrt(sum(r["voltage_v"] ** 2 for r in rows) / len(rows))
                nominal = rows[0]["nominal"]
                if nominal == 230:
                    inside = abs(rms - 230) <= 23
                else:
                    inside = 114 <= rms * 120 / nominal <= 126
                valid += 1
                outside += not inside
        return valid, outside


def _severity(pu: float, duration_s: float) -> str:
    deep, long = pu < 0.8, duration_s > 60
    if pu < 0.5 or (deep and long):
        return "critical"
    return "major" if deep or long else "minor"


def _ieee1159_class(pu: float, duration_s: float) -> str:
    if pu >= 0.9:
        return "none"
    kind = "interruption" if pu < 0.1 else "sag"
    if duration_s <= 3:
        return f"momentary_{kind}"
    if duration_s <= 60:
        return f"temporary_{kind}"
    if kind == "interruption":
        return "sustained_interruption"
    return "undervoltage_severe" if pu < 0.8 else "undervoltage"


def _is_high(row: Row) -> bool:
    nominal = row["nominal"]
    limit = nominal * (1 + 0.1) if nominal == 230 else 254 * nominal / 240
    return bool(row["voltage_v"] > limit)


def _score(parts: dict[str, float | None], rate: float | None, reporting: int) -> float | None:
    if reporting == 0 or (rate is not None and rate > 0.5):
        return None
    weights = dict(zip(parts, (0.35, 0.25, 0.25, 0.15), strict=True))
    known = {name: value for name, value in parts.items() if value is not None}
    total = sum(weights[name] for name in known)
    return 100 * sum(weights[name] * value for name, value in known.items()) / total
