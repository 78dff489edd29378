"""Brute force: takes the reference's readings, gives what the event marts must hold.

Walks every reading with plain state machines, to judge the SQL; slow on purpose.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

from .reference import HOUR_US, Reference, Row, at, us

RANKS = {"minor": 1, "major": 2, "critical": 3}
# Voltages are whole millivolts, so a limit is compared in exact microvolts.
SIDES = {"low": (0.9, 0.92), "high": (1.1, 1.08)}
THRESHOLDS_PCT = (140, 120, 110, 90, 80, 70, 50, 10)


def _hash(*parts: object) -> str:
    return hashlib.md5("|".join(str(part) for part in parts).encode()).hexdigest()


def _uv(volts: float) -> int:
    return round(volts * 1e6)


def _is_below(row: Row, limit_pu: float) -> bool:
    return _uv(row["voltage_v"]) < _uv(row["nominal"] * limit_pu)


def _is_above(row: Row, limit_pu: float) -> bool:
    return _uv(row["voltage_v"]) > _uv(row["nominal"] * limit_pu)


def _is_beyond(row: Row, side: str, limit_pu: float) -> bool:
    return _is_below(row, limit_pu) if side == "low" else _is_above(row, limit_pu)


@dataclass
class Span:
    """A stretch of an event: readings out of range, or an outage (`rows` empty)."""

    start_us: int
    end_us: int
    until_us: int
    first_seq: int
    rows: list[Row]
    preceded: bool
    recovered: bool
    outage_end: str | None = None


class EventReference:
    """Event marts of one lake.

    Args:
        reference: the readings with epochs, intervals and attributes.
        registry: registry rows, one per meter.
    """

    def __init__(self, reference: Reference, registry: list[Row]) -> None:
        self.base = reference
        self.service = {r["meter_id"]: (us(r["valid_from"]), r["valid_to"]) for r in registry}
        self.oldest_us = min(us(rows[0]["event_ts"]) for rows in reference.by_meter.values())
        self.received: dict[str, list[Row]] = {
            meter_id: sorted(
                (r for r in rows if r["received"]), key=lambda r: (r["event_ts"], r["seq"])
            )
            for meter_id, rows in reference.by_meter.items()
        }
        self.reporting: dict[tuple[str, int], set[str]] = defaultdict(set)
        for meter_id, rows in self.received.items():
            for row in rows:
                hour = us(row["event_ts"]) // HOUR_US * HOUR_US
                self.reporting[row["pole_id"], hour].add(meter_id)
        self.dark = {meter_id: self._dark_spans(meter_id) for meter_id in self.received}

    def _service_us(self, meter_id: str) -> tuple[int, int]:
        if meter_id not in self.service:
            return us(self.base.by_meter[meter_id][0]["event_ts"]), 1 << 60
        valid_from, valid_to = self.service[meter_id]
        return valid_from, us(valid_to) if valid_to else 1 << 60

    def _dark_spans(self, meter_id: str) -> list[tuple[Row, int, str]]:
        """(last gasp, until µs, ended by) of every outage, in time order."""
        spans: list[tuple[Row, int, str]] = []
        gasp: Row | None = None
        for row in self.received[meter_id]:
            powered = not _is_below(row, 0.1)
            if gasp is not None and powered and row["event_ts"] > gasp["event_ts"]:
                spans.append((gasp, us(row["event_ts"]), "power"))
                gasp = None
            if gasp is None and "last_gasp" in row["quality_flags"]:
                gasp = row
        if gasp is not None:
            _, removed_us = self._service_us(meter_id)
            removed = us(gasp["event_ts"]) < removed_us <= self.base.watermark_us
            until = removed_us if removed else self.base.watermark_us
            spans.append((gasp, until, "removal" if removed else "open"))
        return spans

    def outages(self) -> dict[str, Row]:
        """`outages` by id."""
        out = {}
        for meter_id, spans in self.dark.items():
            for gasp, until, ended_by in spans:
                start = us(gasp["event_ts"])
                out[_hash(meter_id, start, gasp["seq"])] = {
                    "meter_id": meter_id,
                    "pole_id": gasp["pole_id"],
                    "feeder_id": self.base.service[meter_id].feeder_id,
                    "start_ts": at(start),
                    "end_ts": None if ended_by == "open" else at(until),
                    "until_ts": at(until),
                    "duration_s": (until - start) / 1e6,
                    "ended_by": ended_by,
                    "is_open": ended_by == "open",
                    "gasp_voltage_v": gasp["voltage_v"],
                    "sample_interval_s": self.base.interval_us[meter_id] / 1e6,
                }
        return out

    def comm_losses(self) -> dict[str, Row]:
        """`comm_losses` by id."""
        out = {}
        for meter_id, interval in self.base.interval_us.items():
            rows = self.received.get(meter_id, [])
            covered = [us(r["event_ts"]) for r in rows]
            silences = [(self.oldest_us, (*covered, self.base.watermark_us)[0], None)]
            silences += [(a + interval, b, a) for a, b in pairwise(covered)]
            if covered:
                silences.append((covered[-1] + interval, self.base.watermark_us, covered[-1]))
            from_us, to_us = self._service_us(meter_id)
            for start, end, before in silences:
                gasped = before is not None and any(
                    us(gasp["event_ts"]) <= before < until for gasp, until, _ in self.dark[meter_id]
                )
                still = end == self.base.watermark_us and end not in covered
                ended_by = "removal" if to_us < end else "open" if still else "reading"
                first, last = max(start, from_us), min(end, to_us)
                if gasped or last - first <= max(120_000_000, 1.5 * interval):
                    continue
                service = self.base.service[meter_id]
                out[_hash(meter_id, first)] = {
                    "meter_id": meter_id,
                    "pole_id": service.pole_id,
                    "feeder_id": service.feeder_id,
                    "start_ts": at(first),
                    "end_ts": None if ended_by == "open" else at(last),
                    "until_ts": at(last),
                    "duration_s": (last - first) / 1e6,
                    "ended_by": ended_by,
                    "is_open": ended_by == "open",
                    "sample_interval_s": interval / 1e6,
                }
        return out

    def _runs(self, meter_id: str, side: str) -> list[Span]:
        """Readings of a side from entering to leaving, by a state machine over every reading."""
        interval = self.base.interval_us[meter_id]
        enter_pu, leave_pu = SIDES[side]
        epochs: dict[int, list[Row]] = defaultdict(list)
        for row in self.received[meter_id]:
            epochs[row["epoch"]].append(row)
        runs: list[Span] = []

        def close(rows: list[Row], preceded: bool, after: Row | None) -> None:
            recovered = after is not None and self._adjacent(rows[-1], after)
            end = us(rows[-1]["event_ts"])
            start = us(rows[0]["event_ts"])
            runs.append(Span(start, end, end + interval, rows[0]["seq"], rows, preceded, recovered))

        for rows in epochs.values():
            rows.sort(key=lambda r: r["seq"])
            event: list[Row] = []
            preceded = False
            for previous, row in zip([None, *rows], rows, strict=False):
                stays = _is_beyond(row, side, leave_pu)
                if event and not (stays and self._joins(event[-1], row)):
                    close(event, preceded, row)
                    event = []
                if event:
                    event.append(row)
                elif stays and (
                    _is_beyond(row, side, enter_pu) or (side == "low" and self._is_dark(row))
                ):
                    event = [row]
                    preceded = previous is not None and self._adjacent(previous, row)
            if event:
                close(event, preceded, None)
        return runs

    def _adjacent(self, before: Row, after: Row) -> bool:
        return after["seq"] == before["seq"] + 1 and self.base._runs_on(before, after)

    def _joins(self, before: Row, after: Row) -> bool:
        missing_us = (after["seq"] - before["seq"] - 1) * self.base.interval_us[after["meter_id"]]
        return missing_us <= 5_000_000 and self.base._runs_on(before, after)

    def _is_dark(self, row: Row) -> bool:
        moment = us(row["event_ts"])
        return any(
            us(gasp["event_ts"]) <= moment <= until for gasp, until, _ in self.dark[row["meter_id"]]
        )

    @cached_property
    def variations(self) -> dict[str, Row]:
        """`rms_variation_events` by id."""
        out = {}
        for meter_id in self.received:
            for side in SIDES:
                spans = self._runs(meter_id, side)
                if side == "low":
                    spans += [
                        Span(us(g["event_ts"]), until, until, g["seq"], [], True, True, how)
                        for g, until, how in self.dark[meter_id]
                    ]
                for group in _merged(spans):
                    event = self._variation(meter_id, side, group)
                    start = us(event["start_ts"])
                    out[_hash(meter_id, start, min(group, key=_start).first_seq)] = event
        return out

    def _variation(self, meter_id: str, side: str, group: list[Span]) -> Row:
        interval = self.base.interval_us[meter_id]
        rows = [row for span in group for row in span.rows]
        outages = [span for span in group if span.outage_end is not None]
        first, last = min(group, key=_start), max(group, key=lambda s: (s.end_us, bool(s.rows)))
        start, end = first.start_us, last.end_us
        if len(group) == 1 and rows:
            duration_s = (rows[-1]["seq"] - rows[0]["seq"] + 1) * interval / 1e6
        else:
            duration_s = (max(span.until_us for span in group) - start) / 1e6
        service = self.base.service[meter_id]
        volts = [r["voltage_v"] for r in rows] + [0.0] * bool(outages)
        extreme = min(volts) if side == "low" else max(volts)
        pu = round(extreme / service.nominal_voltage_v, 9)
        newest = us(self.received[meter_id][-1]["event_ts"])
        if any(span.outage_end != "power" for span in outages):
            ended_by = "outage"
        elif last.recovered:
            ended_by = "recovery"
        elif newest <= end and self.base.watermark_us - end <= interval + 120e6:
            ended_by = "open"
        else:
            ended_by = "gap"
        return {
            "meter_id": meter_id,
            "pole_id": (first.rows or rows or [self._gasp_of(meter_id, first)])[0]["pole_id"],
            "feeder_id": service.feeder_id,
            "side": side,
            "start_ts": at(start),
            "end_ts": at(end),
            "duration_s": duration_s,
            "extreme_voltage_v": extreme,
            "extreme_voltage_pu": pu,
            "sample_count": len(rows),
            "missing_count": sum(
                s.rows[-1]["seq"] - s.rows[0]["seq"] + 1 - len(s.rows) for s in group if s.rows
            ),
            "ieee1159_class": _class(side, pu, duration_s),
            "includes_outage": bool(outages),
            "truncated_start": not first.preceded,
            "truncated_end": ended_by != "recovery",
            "ended_by": ended_by,
            "is_open": ended_by == "open" or any(s.outage_end == "open" for s in outages),
            "sample_interval_s": interval / 1e6,
            "coarse": interval > 1_000_000,
        }

    def _gasp_of(self, meter_id: str, span: Span) -> Row:
        return next(g for g, _, _ in self.dark[meter_id] if us(g["event_ts"]) == span.start_us)

    def pole_events(self) -> tuple[dict[str, Row], dict[str, Row]]:
        """`pole_events` and `feeder_events` by id."""
        base = self.base
        feeder_of = {s.pole_id: s.feeder_id for s in base.service.values() if s.feeder_id}
        by_pole: dict[str, list[Row]] = defaultdict(list)
        for event in base.events:
            by_pole[event["pole_id"]].append(event)
        poles: dict[str, Row] = {}
        members: dict[str, list[Row]] = {}
        near: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for pole_id, events in by_pole.items():
            by_id = {e["event_id"]: e for e in events}
            starts = [
                (us(e["start_ts"]), base.interval_us[e["meter_id"]], e["event_id"]) for e in events
            ]
            for chain in base._groups(starts):
                of = [by_id[event_id] for _, _, event_id in chain]
                meters = {e["meter_id"] for e in of}
                hour = chain[0][0] // HOUR_US * HOUR_US
                reporting = len(self.reporting[pole_id, hour])
                key = _hash(pole_id, chain[0][0])
                members[key] = of
                scopes = {e["scope"] for e in of}
                assert len(scopes) == 1
                poles[key] = {
                    "pole_id": pole_id,
                    "feeder_id": feeder_of.get(pole_id),
                    "feeder_event_id": None,
                    "scope": scopes.pop(),
                    "meters_affected": len(meters),
                    "meters_reporting": reporting,
                    "share_affected": len(meters) / reporting,
                    "min_voltage_v": min(e["min_voltage_v"] for e in of),
                    **self._extent(of),
                }
                if len(meters) >= 0.5 * reporting and pole_id in feeder_of:
                    longest = max(interval for _, interval, _ in chain)
                    near[feeder_of[pole_id]].append((chain[0][0], longest, key))
        feeders: dict[str, Row] = {}
        for feeder_id, starts in near.items():
            for chain in base._groups(starts):
                affected = {poles[key]["pole_id"] for _, _, key in chain}
                hour = chain[0][0] // HOUR_US * HOUR_US
                present = {
                    pole_id: meters
                    for pole_id, of in feeder_of.items()
                    if of == feeder_id and (meters := self.reporting[pole_id, hour])
                }
                if len(affected) < max(2, 0.5 * len(present)):
                    continue
                of = [e for _, _, key in chain for e in members[key]]
                feeder_event_id = _hash(feeder_id, chain[0][0])
                for _, _, key in chain:
                    poles[key]["feeder_event_id"] = feeder_event_id
                feeders[feeder_event_id] = {
                    "feeder_id": feeder_id,
                    "poles_affected": len(affected),
                    "poles_reporting": len(present),
                    "share_affected": len(affected) / len(present),
                    "meters_affected": len({e["meter_id"] for e in of}),
                    "meters_reporting": sum(len(meters) for meters in present.values()),
                    **self._extent(of),
                }
        return poles, feeders

    def _extent(self, events: list[Row]) -> Row:
        start = min(us(e["start_ts"]) for e in events)
        until = max(us(e["end_ts"]) + self.base.interval_us[e["meter_id"]] for e in events)
        return {
            "start_ts": at(start),
            "end_ts": max(e["end_ts"] for e in events),
            "duration_s": (until - start) / 1e6,
            "event_count": len(events),
            "min_voltage_pu": min(e["min_voltage_pu"] for e in events),
            "severity": max((e["severity"] for e in events), key=RANKS.__getitem__),
            "is_open": any(e["is_open"] for e in events),
        }

    def sarfi(self) -> dict[tuple[Any, ...], Row]:
        """`sarfi_indices` by (unit kind, unit, period kind, first day, threshold)."""
        feeder_of = {s.pole_id: s.feeder_id for s in self.base.service.values() if s.feeder_id}
        seconds: dict[tuple[Any, ...], float] = defaultdict(float)
        hours: dict[tuple[Any, ...], set[int]] = defaultdict(set)
        slow: set[tuple[Any, ...]] = set()
        for (pole_id, meter_id, hour), cell in self.base._covered(HOUR_US).items():
            for unit in _units(pole_id, feeder_of.get(pole_id), at(hour)):
                seconds[unit] += 0.0
                if self.base.interval_us[meter_id] > 1_000_000:
                    slow.add(unit)
                else:
                    seconds[unit] += min(cell[0], HOUR_US) / 1e6
                    hours[unit].add(hour)
        counts: dict[tuple[Any, ...], int] = defaultdict(int)
        for event in self.variations.values():
            if event["coarse"] or event["is_open"] or event["duration_s"] > 60:
                continue
            pole_id = event["pole_id"]
            for unit in _units(pole_id, feeder_of.get(pole_id), event["start_ts"]):
                for pct in THRESHOLDS_PCT:
                    low = event["side"] == "low" and event["extreme_voltage_pu"] < pct / 100 <= 1
                    high = event["side"] == "high" and event["extreme_voltage_pu"] > pct / 100 > 1
                    counts[(*unit, pct)] += low or high
        out = {}
        for unit, observed_s in seconds.items():
            days = len(hours[unit]) / 24
            status = "published" if days >= 28 else "too_short"
            status = status if observed_s else "not_assessable"
            for pct in THRESHOLDS_PCT:
                count = counts[(*unit, pct)]
                out[(*unit, pct)] = {
                    "event_count": count if observed_s else None,
                    "meter_days": observed_s / 86400,
                    "observed_days": days,
                    "has_unassessable_meters": unit in slow,
                    "status": status,
                    "sarfi": 365 * count * 86400 / observed_s if status == "published" else None,
                }
        return out


def _start(span: Span) -> tuple[int, bool]:
    return span.start_us, not span.rows


def _merged(spans: list[Span]) -> list[list[Span]]:
    """Groups of spans that overlap or touch, directly or through others."""
    groups: list[list[Span]] = []
    for span in sorted(spans, key=_start):
        if groups and span.start_us <= max(other.end_us for other in groups[-1]):
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _class(side: str, pu: float, duration_s: float) -> str:
    prefix = "momentary" if duration_s <= 3 else "temporary" if duration_s <= 60 else "sustained"
    if side == "high":
        if prefix != "sustained":
            return f"{prefix}_swell"
        return "overvoltage_severe" if pu > 1.2 else "overvoltage"
    if pu < 0.1:
        return f"{prefix}_interruption"
    if prefix != "sustained":
        return f"{prefix}_sag"
    return "undervoltage_severe" if pu < 0.8 else "undervoltage"


def _units(pole_id: str, feeder_id: str | None, moment: datetime) -> list[tuple[Any, ...]]:
    day = moment.date()
    units = [("pole", pole_id), ("system", "system")]
    if feeder_id is not None:
        units.append(("feeder", feeder_id))
    periods = [("month", day.replace(day=1)), ("year", day.replace(month=1, day=1))]
    return [(*unit, *period) for unit in units for period in periods]
