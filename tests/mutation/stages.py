"""Builds the warehouses in which faults of models are judged, each by the checks of its tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from ami_contract.lake import DataDir
from tests.dbt_ami import test_demand_response, test_sag_rule
from tests.dbt_ami.conftest import run_dbt
from tests.dbt_ami.dr_world import DR_MODELS, random_world, write_world
from tests.dbt_ami.reference_dr import Baselines, World, fill_pole_power

from .compiled import Check, Stage


def _stage(data: DataDir, check: Check) -> Stage:
    return Stage(data.warehouse, data.root / "target" / "compiled" / "ami", check)


def sag(folder: Path) -> Stage:
    """Low-voltage events of short stories on the limits of the rule."""
    data = DataDir(folder)
    test_sag_rule.write_early(data)
    test_sag_rule.build(data)
    expected = test_sag_rule.expected_of(test_sag_rule.EARLY)
    return _stage(data, lambda con: test_sag_rule.check_rule(con, expected))


def demand_response(folder: Path) -> Stage:
    """Demand response of a random world with one meter a pole."""
    data = DataDir(folder)
    whole = random_world(7)
    meters = {key: slots for key, slots in whole.meters.items() if key[1].endswith("-0")}
    world = World(whole.zones, meters, whole.outages, whole.holidays, whole.events)
    write_world(data, world)
    done = run_dbt(data, "run", "--select", *DR_MODELS, "dr_window_performance+")
    if done.returncode:
        raise RuntimeError(done.stdout)
    values = fill_pole_power(world)
    base = Baselines(world)
    base.baseline = _remembered(base.baseline)  # type: ignore[method-assign]
    for name in ("window_result", "totals", "accuracy"):
        setattr(test_demand_response, name, _remembered(getattr(test_demand_response, name)))

    def check(con: duckdb.DuckDBPyConnection) -> None:
        built = test_demand_response.BuiltWorld(con, world, values, base)
        for judge in (
            test_demand_response.test_event_totals_equal_brute_force,
            test_demand_response.test_candidate_days_equal_brute_force,
            test_demand_response.test_accuracy_equals_brute_force,
            test_demand_response.test_events_equal_brute_force,
            test_demand_response.test_any_window_gives_what_brute_force_gives,
            test_demand_response.test_a_window_of_all_poles_totals_what_each_sheds,
            test_demand_response.test_a_window_of_every_grain_is_what_the_functions_of_each_give,
            test_demand_response.test_baselines_of_every_day_equal_brute_force,
        ):
            judge(built)

    return _stage(data, check)


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which computes the same only once: brute force does not change."""
    known: dict[str, Any] = {}

    def remembering(*arguments: Any) -> Any:
        key = repr([a for a in arguments if not isinstance(a, Baselines)])
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return remembering
