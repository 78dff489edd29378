"""Demand response on random poles against brute force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isclose
from typing import Any

import duckdb
import pytest

from ami_contract.lake import DataDir

from .conftest import run_dbt
from .dr_world import DR_MODELS, random_world, write_world
from .reference_dr import (
    ADJUSTMENTS,
    METHODS,
    SLOT,
    Baselines,
    Event,
    World,
    accuracy,
    fill_pole_power,
    totals,
    window_result,
)


@dataclass
class BuiltWorld:
    """A built world beside what brute force makes of it."""

    con: duckdb.DuckDBPyConnection
    world: World
    validated: dict[tuple[str, str], dict[datetime, tuple]]
    base: Baselines

    def keyed(self, query: str, keys: int) -> dict[tuple, tuple]:
        """Rows of `query` by their first `keys` columns."""
        return {row[:keys]: row[keys:] for row in self.con.execute(query).fetchall()}


@pytest.fixture(scope="module")
def built_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltWorld]:
    """One random world after `dbt run` of the demand-response models."""
    data = DataDir(tmp_path_factory.mktemp("dr"))
    world = random_world(7)
    write_world(data, world)
    done = run_dbt(data, "run", "--select", *DR_MODELS, "dr_window_performance+")
    assert done.returncode == 0, done.stdout
    con = duckdb.connect(str(data.warehouse), read_only=True)
    con.execute("SET TimeZone = 'UTC'")
    values = fill_pole_power(world)
    yield BuiltWorld(con, world, values, Baselines(world))
    con.close()


def assert_close(actual: Any, expected: Any, what: object) -> None:
    """Equal, or within 1e-9 where both are numbers."""
    if isinstance(expected, float) and actual is not None:
        assert isclose(actual, expected, rel_tol=1e-9, abs_tol=1e-9), (actual, expected, what)
    else:
        assert actual == expected, what


def test_validated_values_equal_brute_force(built_world: BuiltWorld) -> None:
    rows = built_world.keyed(
        "select pole_id, meter_id, slot_ts, status, reason, power_kw from validated_5min", 3
    )
    expected = {
        (*key, at): value
        for key, slots in built_world.validated.items()
        for at, value in slots.items()
    }

    assert rows.keys() == expected.keys()
    for key, (status, reason, kw) in expected.items():
        assert rows[key][:2] == (status, reason), key
        assert_close(rows[key][2], kw, key)
    reasons = {row[1] for row in rows.values()}
    assert reasons == {"readings", "outage", "linear", "like_days", "nothing_to_go_by"}


def test_pole_power_equals_brute_force(built_world: BuiltWorld) -> None:
    rows = built_world.keyed("select pole_id, slot_ts, dr_power_kw from v_5min_pole", 2)

    for pole, slots in built_world.world.pole_kw.items():
        for at, kw in slots.items():
            assert_close(rows[pole, at][0], kw, (pole, at))


def test_local_days_have_276_288_or_300_slots(built_world: BuiltWorld) -> None:
    days = built_world.con.execute(
        "select pole_id, local_day::varchar, day_slots from int_pole_days where day_slots != 288"
    ).fetchall()

    assert sorted(days) == [
        ("chicago", "2026-03-08", 276),
        ("paris", "2026-03-29", 276),
        ("sydney", "2026-04-05", 300),
    ]


def test_candidate_days_equal_brute_force(built_world: BuiltWorld) -> None:
    rows = built_world.con.execute(
        "select pole_id, local_day, candidate_day from dr_candidate_days order by recency_rank"
    ).fetchall()
    actual: dict[tuple, list] = {}
    for pole, day, candidate in rows:
        actual.setdefault((pole, day), []).append(candidate)

    assert len(actual) > 200
    for (pole, day), candidates in actual.items():
        assert candidates == built_world.base.candidates(pole, day), (pole, day)


def test_baselines_of_every_day_equal_brute_force(built_world: BuiltWorld) -> None:
    rows = built_world.keyed(
        "select pole_id, local_day, method, slot_ts, baseline_kw, null_reason"
        " from dr_5min_baseline",
        4,
    )
    world, base = built_world.world, built_world.base
    window = [(0, slot) for slot in range(16 * 12, 20 * 12)]
    # Every tenth day and the days around the clock changes.
    keys = sorted({key[:2] for key in rows})
    picked = [k for n, k in enumerate(keys) if n % 10 == 0 or k[1].isoformat()[5:] in _CLOCK_DAYS]
    seen = set()
    for pole, day in picked:
        slots = world.slots_of_day(pole, day)
        walls = [(0, world.local(pole, t)[1]) for t in slots]
        for method in METHODS:
            for at, kw in zip(slots, base.baseline(pole, day, method, window, walls), strict=True):
                assert_close(rows[pole, day, method, at][0], kw, (pole, day, method, at))
                reason = "insufficient_days" if kw is None else None
                assert rows[pole, day, method, at][1] == reason
                seen.add((method, kw is None))
    assert seen == {(m, is_null) for m in METHODS for is_null in (True, False)}


_CLOCK_DAYS = {"03-08", "03-09", "03-15", "03-29", "04-05", "04-12"}


def test_events_equal_brute_force(built_world: BuiltWorld) -> None:
    rows = built_world.keyed(
        "select event_id, method, adjustment, slot_ts, baseline_kw, actual_kw, shed_kw,"
        " adjust_fallback from dr_event_performance",
        4,
    )
    world = built_world.world
    checked = 0
    for event in world.events:
        last = world.rebound_end(event)
        for method in METHODS:
            for adjustment in ADJUSTMENTS:
                result = window_result(
                    built_world.base,
                    event.pole_id,
                    event.start,
                    event.end,
                    last,
                    method,
                    adjustment,
                )
                for at, baseline, actual in zip(
                    result.slots, result.baseline, result.actual, strict=True
                ):
                    key = event.event_id, method, adjustment, at
                    row = rows[key]
                    assert_close(row[0], baseline, key)
                    assert_close(row[1], actual, key)
                    known = baseline is not None and actual is not None
                    assert_close(row[2], baseline - actual if known else None, key)
                    checked += 1
                assert row[3] == result.is_fallback, key
    assert checked == len(rows)


def test_event_totals_equal_brute_force(built_world: BuiltWorld) -> None:
    names = (
        "baseline_kwh",
        "actual_kwh",
        "shed_kwh",
        "shed_pct",
        "rebound_kwh",
        "coverage",
        "adjust_fallback",
    )
    rows = built_world.keyed(
        f"select event_id, method, adjustment, {', '.join(names)} from dr_event_summary", 3
    )
    seen: dict[str, set[bool]] = {name: set() for name in names}
    for event in built_world.world.events:
        for method in METHODS:
            for adjustment in ADJUSTMENTS:
                expected = totals(built_world.base, event, method, adjustment)
                for name, actual in zip(
                    names, rows[event.event_id, method, adjustment], strict=True
                ):
                    assert_close(actual, expected[name], (event.event_id, method, adjustment, name))
                    seen[name].add(bool(actual) if name == "adjust_fallback" else actual is None)
    assert seen["shed_kwh"] == seen["rebound_kwh"] == seen["adjust_fallback"] == {True, False}


def test_any_window_gives_what_brute_force_gives(built_world: BuiltWorld) -> None:
    world = built_world.world
    for pole, start, hours in (
        ("chicago", "2026-01-23T16:00-06:00", 2),  # three candidates, as few as any method needs
        ("chicago", "2026-03-13T17:05-05:00", 2),
        ("paris", "2026-03-28T23:00+01:00", 5),
        ("sydney", "2026-04-06T17:00+10:00", 2),
    ):
        begins = datetime.fromisoformat(start).astimezone(UTC)
        window = Event("", pole, begins, begins + timedelta(hours=hours))
        last = world.rebound_end(window)
        rows = {
            row[:3]: row[3:]
            for row in built_world.con.execute(
                "select method, adjustment, slot_ts, baseline_kw, actual_kw"
                " from dr_window_performance(?, ?, ?)",
                [window.start, window.end, [pole]],
            ).fetchall()
        }
        checked = 0
        for method in METHODS:
            for adjustment in ADJUSTMENTS:
                result = window_result(
                    built_world.base, pole, window.start, window.end, last, method, adjustment
                )
                for at, baseline, actual in zip(
                    result.slots, result.baseline, result.actual, strict=True
                ):
                    assert_close(rows[method, adjustment, at][0], baseline, (pole, method, at))
                    assert_close(rows[method, adjustment, at][1], actual, (pole, method, at))
                    checked += 1
        assert checked == len(rows)


def test_a_window_of_all_poles_totals_what_each_sheds(built_world: BuiltWorld) -> None:
    window = "'2026-04-08T19:00Z', '2026-04-08T21:00Z'"
    summaries = built_world.con.execute(
        "select method, adjustment, count(*), sum(shed_kwh), sum(baseline_kwh), count(shed_kwh)"
        f" from dr_window_summary({window}, []) group by method, adjustment"
    ).fetchall()
    totals_of = built_world.keyed(
        "select method, adjustment, poles, shed_kwh, shed_pct, unknown_poles"
        f" from dr_window_totals({window}, [])",
        2,
    )
    known = 0
    for method, adjustment, poles, shed_kwh, baseline_kwh, with_shed in summaries:
        total = totals_of[method, adjustment]
        assert total[0] == poles == 3
        if with_shed == 3:
            assert_close(total[1], shed_kwh, (method, adjustment))
            assert_close(total[2], 100 * shed_kwh / baseline_kwh, (method, adjustment))
            known += 1
        else:
            assert total[1:3] == (None, None)
            assert total[3]
    assert len(totals_of) == len(summaries) == 18
    assert known
    two = built_world.con.execute(
        "select distinct pole_id from dr_window_summary(?, ?, ['paris', 'chicago'])",
        [datetime(2026, 4, 8, 19, tzinfo=UTC), datetime(2026, 4, 8, 21, tzinfo=UTC)],
    ).fetchall()
    assert sorted(two) == [("chicago",), ("paris",)]


def test_a_window_of_every_grain_is_what_the_functions_of_each_give(
    built_world: BuiltWorld,
) -> None:
    window = "('2026-04-08T19:00Z', '2026-04-08T21:00Z', [])"
    by_method = "method, adjustment, is_own_adjustment"
    energies = "baseline_kwh, actual_kwh, shed_kwh, shed_pct, rebound_kwh"
    of_totals = f"{by_method}, poles, unknown_poles, {energies}"
    of_poles = (
        f"{by_method}, pole_id, event_slots, valid_slots, coverage, {energies}, adjust_factor, "
        "adjust_offset_kw, adjust_fallback, null_reason"
    )

    def rows(columns: str, relation: str, where: str = "true") -> list[tuple[Any, ...]]:
        sql = f"select {columns} from {relation}{window} where {where} order by all"
        return built_world.con.execute(sql).fetchall()

    for columns, relation, grain in (
        (of_totals, "dr_window_totals", "window"),
        (of_poles, "dr_window_summary", "pole"),
    ):
        expected, actual = rows(columns, relation), rows(columns, "dr_window", f"grain = '{grain}'")
        assert len(actual) == len(expected) > 0
        for one, other in zip(actual, expected, strict=True):
            for found, wanted in zip(one, other, strict=True):
                if isinstance(wanted, float):
                    assert_close(found, wanted, other[:2])
                else:
                    assert found == wanted

    slots: dict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for *key, baseline_kw, actual_kw, shed_kw in rows(
        f"{by_method}, slot_ts, phase, baseline_kw, actual_kw, shed_kw", "dr_window_performance"
    ):
        slots[tuple(key)].append((baseline_kw, actual_kw, shed_kw))
    summed = rows(
        f"{by_method}, slot_ts, phase, poles, known_poles, baseline_kw, actual_kw, shed_kw",
        "dr_window",
        "grain = 'slot'",
    )
    assert len(summed) == len(slots)
    seen = set()
    for *key, poles, known_poles, baseline_kw, actual_kw, shed_kw in summed:
        kws = slots[tuple(key)]
        assert (poles, known_poles) == (len(kws), sum(kw[2] is not None for kw in kws))
        for place, found in enumerate((baseline_kw, actual_kw, shed_kw)):
            values = [kw[place] for kw in kws]
            wanted = None if None in values else sum(values)
            assert_close(found, wanted, tuple(key))
            seen.add(found is None)
    assert seen == {True, False}


def test_accuracy_equals_brute_force(built_world: BuiltWorld) -> None:
    rows = built_world.keyed(
        "select reference_id, pole_id, method, adjustment, placebo_days, rrmse, bias, gate"
        " from dr_baseline_accuracy",
        4,
    )
    world, base = built_world.world, built_world.base
    references = [
        (
            event.event_id,
            event.pole_id,
            (
                day := world.local(event.pole_id, event.start)[0],
                (0, world.local(event.pole_id, event.start)[1]),
                (
                    (world.local(event.pole_id, event.end - SLOT)[0] - day).days,
                    world.local(event.pole_id, event.end - SLOT)[1],
                ),
            ),
        )
        for event in world.events
    ]
    for pole in world.zones:
        newest = max(base.absolute[pole])
        day = newest + timedelta(1)
        if world.day_type(day) == "W":
            references.append(("default_window", pole, (day, (0, 192), (0, 239))))
    gates = set()
    for name, pole, reference in references:
        for method in METHODS:
            for adjustment in ADJUSTMENTS:
                expected = accuracy(base, pole, reference, method, adjustment)
                row = rows[name, pole, method, adjustment]
                for actual, (what, value) in zip(row, expected.items(), strict=True):
                    assert_close(actual, value, (name, pole, method, adjustment, what))
                gates.add(row[3])
    assert gates >= {"fail", "not_assessable"}
