"""Brute-force demand response: reads 5-minute meter slots, gives what the models must hold.

Every rule is a loop over plain dicts, close to its definition in docs/demand-response.md; slow, and
obviously right.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import fmean as mean
from statistics import median
from zoneinfo import ZoneInfo

SLOT = timedelta(minutes=5)
HOUR = timedelta(hours=1)
METHODS = (
    "same_time_mean",
    "median_n",
    "caiso_10_of_10",
    "ercot_mid_8_of_10",
    "pjm_high_4_of_5",
    "nyiso_high_5_of_10",
)
ADJUSTMENTS = ("none", "multiplicative", "additive")
NEEDS = {
    "same_time_mean": (3, 3),
    "median_n": (5, 5),
    "caiso_10_of_10": (5, 4),
    "ercot_mid_8_of_10": (10, 10),
    "pjm_high_4_of_5": (4, 2),
    "nyiso_high_5_of_10": (5, 2),
}
Wall = tuple[int, int]
"""Days after the window's first day, slot of the local day."""


@dataclass(frozen=True)
class MeterSlot:
    """What was read of a meter in one slot."""

    covered_kwh: float
    covered_s: float
    in_service_s: float


@dataclass(frozen=True)
class Event:
    """A demand-response event of one pole."""

    event_id: str
    pole_id: str
    start: datetime
    end: datetime


@dataclass
class World:
    """Inputs: zones by pole, slots by (pole, meter), outages by meter, holidays and events."""

    zones: dict[str, str]
    meters: dict[tuple[str, str], dict[datetime, MeterSlot]]
    outages: dict[str, list[tuple[datetime, datetime]]]
    holidays: set[date]
    events: list[Event]
    pole_kw: dict[str, dict[datetime, float | None]] = field(default_factory=dict)
    _walls: dict[tuple[str, datetime], tuple[date, int]] = field(default_factory=dict)
    _days: dict[tuple[str, date], list[datetime]] = field(default_factory=dict)

    def local(self, pole: str, at: datetime) -> tuple[date, int]:
        """Local day and slot of day of an instant."""
        key = self.zones[pole], at
        if key not in self._walls:
            wall = at.astimezone(ZoneInfo(self.zones[pole]))
            self._walls[key] = wall.date(), wall.hour * 12 + wall.minute // 5
        return self._walls[key]

    def day_type(self, day: date) -> str:
        """W or E."""
        return "W" if day.weekday() < 5 and day not in self.holidays else "E"

    def slots_of_day(self, pole: str, day: date) -> list[datetime]:
        """Every slot of a local day: 276, 288 or 300."""
        key = self.zones[pole], day
        if key not in self._days:
            first = datetime(day.year, day.month, day.day, tzinfo=UTC) - 15 * HOUR
            found = [first + k * SLOT for k in range(12 * 54)]
            self._days[key] = [t for t in found if self.local(pole, t)[0] == day]
        return self._days[key]

    def rebound_end(self, event: Event) -> datetime:
        """Two hours after the end, cut at the pole's next event."""
        later = [e.start for e in self.events if e.pole_id == event.pole_id]
        return min([event.end + 2 * HOUR, *(s for s in later if s >= event.end)])

    def is_touched(self, pole: str, start: datetime, end: datetime) -> bool:
        """Whether [start, end) meets an event of the pole or its rebound."""
        return any(
            e.pole_id == pole and start < self.rebound_end(e) and e.start < end for e in self.events
        )

    def outage_s(self, meter: str, at: datetime) -> float:
        """Seconds without supply in the slot."""
        return sum(
            max(0.0, (min(end, at + SLOT) - max(start, at)).total_seconds())
            for start, end in self.outages.get(meter, [])
        )


def validated(world: World, pole: str, meter: str) -> dict[datetime, tuple[str, str, float | None]]:
    """Status, reason and kW by slot of one meter."""
    slots = world.meters[pole, meter]
    known: dict[datetime, tuple[bool, bool, float | None]] = {}
    for at, slot in slots.items():
        dark_s = min(world.outage_s(meter, at), slot.in_service_s - slot.covered_s)
        known_s = slot.covered_s + max(0.0, dark_s)
        kw = slot.covered_kwh * 3600 / known_s if known_s else None
        is_measured = slot.in_service_s > 0 and known_s >= 0.8 * slot.in_service_s
        known[at] = is_measured, world.outage_s(meter, at) > 0, kw
    by_day: dict[date, list[datetime]] = defaultdict(list)
    for at in slots:
        by_day[world.local(pole, at)[0]].append(at)

    def is_eligible(day: date) -> bool:
        of_day = by_day[day]
        return (
            sum(known[t][0] for t in of_day) >= 0.9 * len(world.slots_of_day(pole, day))
            and not any(known[t][1] for t in of_day)
            and not any(world.is_touched(pole, t, t + SLOT) for t in world.slots_of_day(pole, day))
        )

    eligible = {day for day in by_day if is_eligible(day)}
    out: dict[datetime, tuple[str, str, float | None]] = {}
    for at, (is_measured, is_dark, kw) in known.items():
        if is_measured:
            out[at] = "measured", "outage" if is_dark else "readings", kw
            continue
        if slots[at].in_service_s == 0:
            out[at] = "missing", "not_in_service", None
            continue
        sides = [
            next((t for k in range(1, 8) if known.get(t := at + k * step, (False,))[0]), None)
            for step in (-SLOT, SLOT)
        ]
        before, after = sides
        if before is not None and after is not None and (after - before) / SLOT - 1 <= 6:
            left, right = known[before][2], known[after][2]
            share = (at - before) / (after - before)
            out[at] = "estimated", "linear", left + (right - left) * share
            continue
        day, slot_of_day = world.local(pole, at)
        like = sorted(
            (
                d
                for d in eligible
                if world.day_type(d) == world.day_type(day)
                and timedelta(0) < day - d <= timedelta(60)
            ),
            reverse=True,
        )[:3]
        values = []
        for d in like:
            same = [
                known[t][2]
                for t in by_day[d]
                if world.local(pole, t)[1] == slot_of_day and known[t][0]
            ]
            values += [mean(same)] if same else []
        if len(like) == 3 and values:
            out[at] = "estimated", "like_days", mean(values)
        else:
            out[at] = "missing", "nothing_to_go_by", None
    return out


def fill_pole_power(world: World) -> dict[tuple[str, str], dict[datetime, tuple]]:
    """Fill `world.pole_kw` with the power for DR; gives the validated values it was made of."""
    values = {key: validated(world, *key) for key in world.meters}
    for pole in world.zones:
        meters = [key for key in world.meters if key[0] == pole]
        world.pole_kw[pole] = {}
        for at in sorted({t for key in meters for t in world.meters[key]}):
            present = [(values[k][at], world.meters[k][at], k) for k in meters if at in values[k]]
            measured_s = sum(
                min(
                    s.in_service_s,
                    s.covered_s
                    + max(0.0, min(world.outage_s(k[1], at), s.in_service_s - s.covered_s)),
                )
                for v, s, k in present
                if v[0] == "measured"
            )
            total_s = sum(s.in_service_s for _, s, _ in present)
            is_good = measured_s >= 0.9 * total_s and all(
                v[0] != "missing" for v, s, _ in present if s.in_service_s > 0
            )
            kws = [v[2] for v, _, _ in present if v[2] is not None]
            world.pole_kw[pole][at] = sum(kws) if is_good and kws else None
    return values


class Baselines:
    """Days, candidates and baselines of a world whose pole power is filled in."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.values: dict[str, dict[tuple[date, int], float]] = {}
        self.eligible: dict[str, dict[date, float]] = {}
        self.absolute: dict[str, dict[date, tuple[float, int]]] = {}
        self.non_event_days: dict[str, set[date]] = {}
        for pole, slots in world.pole_kw.items():
            outages = [
                span for p, m in world.meters if p == pole for span in world.outages.get(m, [])
            ]
            days: dict[date, list[datetime]] = defaultdict(list)
            both: dict[tuple[date, int], list[float]] = defaultdict(list)
            for at, kw in slots.items():
                dark = any(start < at + SLOT and at < end for start, end in outages)
                days[world.local(pole, at)[0]].append(at)
                if kw is not None and not dark and not world.is_touched(pole, at, at + SLOT):
                    both[world.local(pole, at)].append(kw)
            self.values[pole] = {key: mean(kws) for key, kws in both.items()}
            self.eligible[pole] = {}
            self.absolute[pole] = {}
            self.non_event_days[pole] = set()
            for day, stored in days.items():
                all_slots = world.slots_of_day(pole, day)
                kws = [slots[t] for t in stored if slots[t] is not None]
                is_event = any(world.is_touched(pole, t, t + SLOT) for t in all_slots)
                is_dark = any(s < t + SLOT and t < e for t in all_slots for s, e in outages)
                self.absolute[pole][day] = sum(abs(k) for k in kws), len(kws)
                if not is_event:
                    self.non_event_days[pole].add(day)
                if not is_event and not is_dark and len(kws) >= 0.9 * len(all_slots):
                    self.eligible[pole][day] = sum(kws) / 12

    def candidates(self, pole: str, day: date) -> list[date]:
        """Eligible days of the type of `day` in the 60 days before, the most recent first."""
        return sorted(
            (
                d
                for d in self.eligible[pole]
                if self.world.day_type(d) == self.world.day_type(day)
                and timedelta(0) < day - d <= timedelta(60)
            ),
            reverse=True,
        )

    def value(self, pole: str, day: date, wall: Wall) -> float | None:
        """Power of a candidate at a wall-clock slot, the mean of both where it repeats."""
        return self.values[pole].get((day + timedelta(wall[0]), wall[1]))

    def window_kw(self, pole: str, day: date, window: list[Wall]) -> float | None:
        """Mean power of a candidate over the window."""
        kws = [kw for wall in window if (kw := self.value(pole, day, wall)) is not None]
        return mean(kws) if kws else None

    def picks(
        self, pole: str, day: date, method: str, window: list[Wall]
    ) -> tuple[list[date], list[date]]:
        """Pool of candidates and those of them that are averaged."""
        days = self.candidates(pole, day)
        is_working = self.world.day_type(day) == "W"
        if method == "same_time_mean":
            return days, days
        if method == "median_n":
            return days[:10], days[:10]
        if method == "caiso_10_of_10":
            recent = [d for d in days if day - d <= timedelta(45)][: 10 if is_working else 4]
            return recent, recent
        if method == "ercot_mid_8_of_10":
            pool = days[:10]
            kwh = self.eligible[pole]
            # Of equal days the older goes: the highest first, then the lowest of the rest.
            kept = sorted(pool, key=lambda d: (-kwh[d], d))[1:]
            kept = sorted(kept, key=lambda d: (kwh[d], d))[1:]
            return pool, kept
        size, used = (5, 4) if method == "pjm_high_4_of_5" else (10, 5)
        if not is_working:
            size, used = 3, 2
        kw = {d: self.window_kw(pole, d, window) for d in days}
        ranked = [d for d in days if kw[d] is not None]
        pool, older = ranked[:size], ranked[size:]
        while pool and older:
            level = mean(kw[d] for d in pool)
            lowest = min(pool, key=lambda d: (kw[d], d))
            if level <= 0 or kw[lowest] >= 0.25 * level:
                break
            pool.remove(lowest)
            pool.append(older.pop(0))
        return pool, sorted(pool, key=lambda d: (kw[d], d), reverse=True)[:used]

    def baseline(
        self, pole: str, day: date, method: str, window: list[Wall], walls: list[Wall]
    ) -> list[float | None]:
        """Unadjusted baseline at each of `walls`. [kW]"""
        pool, used = self.picks(pole, day, method, window)
        need = NEEDS[method][0 if self.world.day_type(day) == "W" else 1]
        out: list[float | None] = []
        for wall in walls:
            present = [d for d in pool if self.value(pole, d, wall) is not None]
            kws = [kw for d in used if (kw := self.value(pole, d, wall)) is not None]
            if len(present) < need or not kws:
                out.append(None)
            else:
                out.append(median(kws) if method == "median_n" else mean(kws))
        return out


@dataclass
class WindowResult:
    """One window by one method and adjustment; slots from 4 h before the start on."""

    slots: list[datetime]
    baseline: list[float | None]
    actual: list[float | None]
    is_fallback: bool


def window_result(
    base: Baselines,
    pole: str,
    start: datetime,
    end: datetime,
    last: datetime,
    method: str,
    adjustment: str,
) -> WindowResult:
    """Baseline and actual of [start − 4 h, last) for the window [start, end)."""
    world = base.world
    day = world.local(pole, start)[0]
    slots = []
    at = start - 4 * HOUR
    while at < last:
        slots.append(at)
        at += SLOT
    walls = [((world.local(pole, t)[0] - day).days, world.local(pole, t)[1]) for t in slots]
    window = [w for t, w in zip(slots, walls, strict=True) if start <= t < end]
    kws = base.baseline(pole, day, method, window, walls)
    actual = [world.pole_kw[pole].get(t) for t in slots]
    if adjustment == "none":
        return WindowResult(slots, kws, actual, False)
    until = start - (2 * HOUR if method == "nyiso_high_5_of_10" else HOUR)
    inside = [i for i, t in enumerate(slots) if t < until]
    pairs = [(actual[i], kws[i]) for i in inside if actual[i] is not None and kws[i] is not None]
    if world.is_touched(pole, start - 4 * HOUR, until) or len(pairs) < 0.9 * len(inside):
        return WindowResult(slots, [None] * len(slots), actual, False)
    sum_actual, sum_base = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    offset = (sum_actual - sum_base) / len(pairs)
    pool = base.picks(pole, day, method, window)[0]
    usual = sum(base.absolute[pole][d][0] for d in pool) / sum(
        base.absolute[pole][d][1] for d in pool
    )
    is_small = sum_base / len(pairs) < max(0.1, 0.05 * usual) or sum_actual < 0
    if adjustment == "additive" or is_small:
        kws = [None if b is None else b + offset for b in kws]
    else:
        factor = max(0.8, min(1.2, sum_actual / sum_base))
        kws = [None if b is None else b * factor for b in kws]
    return WindowResult(slots, kws, actual, adjustment == "multiplicative" and is_small)


def totals(
    base: Baselines, event: Event, method: str, adjustment: str
) -> dict[str, float | bool | None]:
    """What `dr_event_summary` holds for a pole's event."""
    last = base.world.rebound_end(event)
    result = window_result(base, event.pole_id, event.start, event.end, last, method, adjustment)
    rows = list(zip(result.slots, result.baseline, result.actual, strict=True))
    during = [(b, a) for t, b, a in rows if event.start <= t < event.end]
    after = [(b, a) for t, b, a in rows if event.end <= t]
    valid = [(b, a) for b, a in during if b is not None and a is not None]
    valid_after = [(b, a) for b, a in after if b is not None and a is not None]
    out: dict[str, float | bool | None] = {
        "baseline_kwh": None,
        "actual_kwh": None,
        "shed_kwh": None,
        "shed_pct": None,
        "rebound_kwh": None,
        "coverage": len(valid) / len(during),
        "adjust_fallback": result.is_fallback,
    }
    if len(valid) >= 0.9 * len(during):
        sum_base, sum_actual = sum(b for b, _ in valid), sum(a for _, a in valid)
        out["baseline_kwh"], out["actual_kwh"] = sum_base / 12, sum_actual / 12
        out["shed_kwh"] = (sum_base - sum_actual) / 12
        out["shed_pct"] = 100 * (1 - sum_actual / sum_base) if sum_base > 0 else None
    if after and len(valid_after) >= 0.9 * len(after):
        out["rebound_kwh"] = sum(a - b for b, a in valid_after) / 12
    return out


def accuracy(
    base: Baselines, pole: str, reference: tuple[date, Wall, Wall], method: str, adjustment: str
) -> dict[str, float | str | int | None]:
    """What `dr_baseline_accuracy` holds for a first day, first and last wall slot."""
    world = base.world
    day, first, final = reference
    kind = world.day_type(day)
    errors: list[tuple[float, float]] = []
    days = 0
    for back in range(1, 61):
        placebo = day - timedelta(back)
        if world.day_type(placebo) != kind or placebo not in base.non_event_days[pole]:
            continue
        starts = [
            t for t in world.slots_of_day(pole, placebo) if world.local(pole, t)[1] == first[1]
        ]
        last_day = placebo + timedelta(final[0])
        ends = [
            t for t in world.slots_of_day(pole, last_day) if world.local(pole, t)[1] == final[1]
        ]
        if not starts or not ends:
            continue
        start, end = min(starts), max(ends) + SLOT
        if world.is_touched(pole, start, end):
            continue
        result = window_result(base, pole, start, end, end, method, adjustment)
        hours: dict[tuple[date, int], list[tuple[float | None, float | None]]] = defaultdict(list)
        for t, b, a in zip(result.slots, result.baseline, result.actual, strict=True):
            if t >= start:
                local_day, slot_of_day = world.local(pole, t)
                hours[local_day, slot_of_day // 12].append((b, a))
        good = 0
        for pairs in hours.values():
            valid = [(b, a) for b, a in pairs if b is not None and a is not None]
            if len(valid) >= 0.9 * len(pairs):
                errors.append((mean(b for b, _ in valid), mean(a for _, a in valid)))
                good += 1
        days += good > 0
    if not errors:
        return {"placebo_days": 0, "rrmse": None, "bias": None, "gate": "not_assessable"}
    load = mean(a for _, a in errors)
    rmse = math.sqrt(mean((b - a) ** 2 for b, a in errors))
    gate = "pass" if rmse <= 0.2 * load else "fail"
    if days < 20 or load <= 0.1:
        gate = "not_assessable"
    return {
        "placebo_days": days,
        "rrmse": rmse / load if load > 0 else None,
        "bias": mean(b - a for b, a in errors) / load if load > 0 else None,
        "gate": gate,
    }
