"""Demand-response events on flat loads, so that every figure can be worked out in the head.

Each scenario is a pole of one meter that draws 10 kW, and does something else around an event on
Tuesday 2026-03-17, 16:00 to 18:00 UTC; its adjustment window is 12:00 to 15:00.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from ami_contract.lake import DataDir

from .conftest import run_dbt
from .dr_world import DR_MODELS, write_world
from .reference_dr import SLOT, Event, MeterSlot, World

FIRST = datetime(2026, 2, 23, tzinfo=UTC)
DAY = datetime(2026, 3, 17, tzinfo=UTC)
START, END = DAY.replace(hour=16), DAY.replace(hour=18)
HOUR = timedelta(hours=1)
Load = Callable[[datetime], float | None]


def around_event(before: float, during: float = 7.0, usual: float = 10.0) -> Load:
    """`before` on the event day until the event, `during` in it, 11 kW after it."""

    def load(at: datetime) -> float:
        if at < DAY:
            return usual
        if at < START:
            return before
        return during if at < END else 11.0

    return load


def with_holes(slots: int) -> Load:
    """The first `slots` slots of the event are missing."""
    load = around_event(10.0)
    return lambda at: None if START <= at < START + slots * SLOT else load(at)


SCENARIOS: dict[str, Load] = {
    "plain": around_event(11.0),
    "capped-up": around_event(15.0),
    "capped-down": around_event(5.0),
    "tiny": around_event(0.15, 0.05, usual=0.05),
    "exporting": around_event(-2.0),
    "two-holes": with_holes(2),
    "three-holes": with_holes(3),
    "followed": around_event(10.0),
    "new": lambda at: None if at < DAY - timedelta(6) else around_event(10.0)(at),
    "nyiso-late": lambda at: 12.0 if DAY + 14 * HOUR <= at < START else around_event(10.0)(at),
}


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    data = DataDir(tmp_path_factory.mktemp("dr"))
    slots = [FIRST + k * SLOT for k in range(23 * 288)]
    meters = {
        (pole, f"m-{pole}"): {
            at: MeterSlot((load(at) or 0.0) / 12, 0.0 if load(at) is None else 300.0, 300.0)
            for at in slots
        }
        for pole, load in SCENARIOS.items()
    }
    events = [Event(pole, pole, START, END) for pole in SCENARIOS]
    events.append(Event("next", "followed", END + HOUR, END + 2 * HOUR))
    write_world(data, World(dict.fromkeys(SCENARIOS, "UTC"), meters, {}, set(), events))
    with duckdb.connect(str(data.warehouse)) as writing:
        # One event for two poles, the second of which has no baseline by CAISO's rule.
        writing.execute(
            "update dr_events set pole_ids = 'plain; new', event_id = 'both' where event_id = 'new'"
        )
        writing.execute("delete from dr_events where event_id = 'plain'")
    done = run_dbt(data, "run", "--select", *DR_MODELS)
    assert done.returncode == 0, done.stdout
    reading = duckdb.connect(str(data.warehouse), read_only=True)
    yield reading
    reading.close()


def summary(
    con: duckdb.DuckDBPyConnection,
    pole: str,
    adjustment: str,
    method: str = "caiso_10_of_10",
    event: str | None = None,
) -> dict[str, Any]:
    """The one summary row of a pole's event."""
    cursor = con.execute(
        "select * from dr_event_summary where pole_id = ? and adjustment = ? and method = ?"
        " and event_id = ?",
        [pole, adjustment, method, event or pole],
    )
    names = [column[0] for column in cursor.description or []]
    (row,) = cursor.fetchall()
    return dict(zip(names, row, strict=True))


def test_shed_is_baseline_minus_actual(con: duckdb.DuckDBPyConnection) -> None:
    """10 kW of baseline, 7 kW drawn, for 2 h: 20 − 14 = 6 kWh, 30 %."""
    row = summary(con, "plain", "none", event="both")

    assert row["baseline_kwh"] == pytest.approx(20)
    assert row["shed_kwh"] == pytest.approx(6)
    assert row["shed_pct"] == pytest.approx(30)
    assert row["rebound_kwh"] == pytest.approx(2)  # (11 − 10) kW · 2 h


def test_multiplicative_adjustment_scales_and_additive_shifts(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """11 kW instead of 10 before the event: × 1.1 or + 1 kW, either way 11 kW of baseline."""
    scaled = summary(con, "plain", "multiplicative", event="both")
    shifted = summary(con, "plain", "additive", event="both")

    assert (scaled["adjust_factor"], scaled["adjust_offset_kw"]) == (pytest.approx(1.1), None)
    assert (shifted["adjust_factor"], shifted["adjust_offset_kw"]) == (None, pytest.approx(1))
    assert scaled["shed_kwh"] == shifted["shed_kwh"] == pytest.approx(8)
    assert scaled["rebound_kwh"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("pole", "factor", "shed_kwh", "additive_kwh"),
    [("capped-up", 1.2, 10, 16), ("capped-down", 0.8, 2, -4)],
)
def test_the_factor_is_capped_and_the_offset_is_not(
    con: duckdb.DuckDBPyConnection, pole: str, factor: float, shed_kwh: float, additive_kwh: float
) -> None:
    """(12 − 7)·2 and (8 − 7)·2 against (15 − 7)·2 and (5 − 7)·2."""
    row = summary(con, pole, "multiplicative")

    assert row["adjust_factor"] == pytest.approx(factor)
    assert row["shed_kwh"] == pytest.approx(shed_kwh)
    assert summary(con, pole, "additive")["shed_kwh"] == pytest.approx(additive_kwh)


@pytest.mark.parametrize(("pole", "offset"), [("tiny", 0.1), ("exporting", -12.0)])
def test_a_small_baseline_or_export_falls_back_to_the_additive_adjustment(
    con: duckdb.DuckDBPyConnection, pole: str, offset: float
) -> None:
    row = summary(con, pole, "multiplicative")

    assert row["adjust_fallback"]
    assert row["adjust_factor"] is None
    assert row["adjust_offset_kw"] == pytest.approx(offset)
    assert row["shed_kwh"] == summary(con, pole, "additive")["shed_kwh"]


def test_no_percentage_where_the_baseline_is_not_positive(con: duckdb.DuckDBPyConnection) -> None:
    """− 12 kW on 10 kW of baseline leave − 2 kW: 7 kW drawn are − 18 kWh of shed."""
    row = summary(con, "exporting", "additive")

    assert row["shed_kwh"] == pytest.approx(-18)
    assert row["shed_pct"] is None


def test_ninety_percent_of_the_slots_are_enough_and_are_not_scaled_up(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """22 of 24 slots are 91.7 %: 22 · 3/12 = 5.5 kWh. 21 are 87.5 %: unknown.

    Both holes are shorter than 30 min and so estimated, but demand response wants measured values.
    """
    enough, too_few = (summary(con, pole, "none") for pole in ("two-holes", "three-holes"))

    assert (enough["valid_slots"], enough["shed_kwh"]) == (22, pytest.approx(5.5))
    assert (too_few["valid_slots"], too_few["shed_kwh"]) == (21, None)
    assert too_few["null_reason"] == "no_actual"


def test_the_rebound_ends_where_the_next_event_begins(con: duckdb.DuckDBPyConnection) -> None:
    row = summary(con, "followed", "none")

    assert row["rebound_slots"] == 12
    assert row["rebound_kwh"] == pytest.approx(1)  # (11 − 10) kW · 1 h


def test_no_adjustment_where_its_window_touches_another_event(
    con: duckdb.DuckDBPyConnection,
) -> None:
    row = summary(con, "followed", "multiplicative", event="next")

    assert row["shed_kwh"] is None
    assert row["null_reason"] == "adjustment_touches_event"
    assert summary(con, "followed", "none", event="next")["shed_kwh"] == pytest.approx(-1)


def test_nyiso_looks_at_two_hours_only(con: duckdb.DuckDBPyConnection) -> None:
    """12 kW from 14:00 on: a third of CAISO's window, (10 + 10 + 12)/30, none of NYISO's."""
    caiso = summary(con, "nyiso-late", "multiplicative")
    nyiso = summary(con, "nyiso-late", "multiplicative", "nyiso_high_5_of_10")

    assert caiso["adjust_factor"] == pytest.approx(32 / 30)
    assert nyiso["adjust_factor"] == pytest.approx(1)


def test_one_unknown_pole_makes_the_total_unknown_and_is_listed(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """`new` has four working days: enough for the mean (3 + 3 kW · 2 h), too few for CAISO."""
    rows = con.execute(
        "select method, poles, unknown_poles, shed_kwh from dr_event_totals"
        " where event_id = 'both' and adjustment = 'none'"
        " and method in ('same_time_mean', 'caiso_10_of_10') order by method"
    ).fetchall()

    assert rows == [
        ("caiso_10_of_10", 2, "new", None),
        ("same_time_mean", 2, None, pytest.approx(12)),
    ]
    assert summary(con, "new", "none", event="both")["null_reason"] == "insufficient_days"
