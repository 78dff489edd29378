"""Freshness policies: which assets have one, and that they fit the schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy
from dagster._utils.schedules import schedule_execution_time_iterator

from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_dagster.build import build_definitions
from ami_dagster.freshness import fail_window
from ami_dagster.jobs import REFRESH_WEEKS

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Settings(data_dir=tmp_path_factory.mktemp("empty") / "data"))


def policies(definitions: dg.Definitions) -> dict[str, TimeWindowFreshnessPolicy]:
    graph = definitions.resolve_asset_graph()
    found = {}
    for key in graph.get_all_asset_keys():
        policy = graph.get(key).freshness_policy
        if policy is not None:
            assert isinstance(policy, TimeWindowFreshnessPolicy)
            found[key.to_user_string()] = policy
    return found


def test_each_asset_of_the_chain_is_stale_in_its_time(definitions: dg.Definitions) -> None:
    windows = {name: fail_window(policy) for name, policy in policies(definitions).items()}
    assert {
        name: windows[name]
        for name in (
            "raw_meter_readings",
            "compacted_readings",
            "voltage_events",
            "pole_events",
            "published_warehouse",
            "pole_health_hourly",
            "dr_5min_baseline",
            "pole_health_daily",
            "voltage_quality_daily",
            "voltage_quality_weekly",
            "sarfi_indices",
        )
    } == {
        "raw_meter_readings": 10 * MINUTE,
        "compacted_readings": 15 * MINUTE,
        "voltage_events": 15 * MINUTE,
        "pole_events": 15 * MINUTE,
        "published_warehouse": 15 * MINUTE,
        "pole_health_hourly": 90 * MINUTE,
        "dr_5min_baseline": 90 * MINUTE,
        "pole_health_daily": 26 * HOUR,
        "voltage_quality_daily": 26 * HOUR,
        "voltage_quality_weekly": 7 * DAY + 2 * HOUR,
        "sarfi_indices": 7 * DAY + 2 * HOUR,
    }


def test_every_mart_has_a_policy_and_no_seed_or_view_on_the_way_has(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    marts = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).group_name in {"monitoring", "demand_response"}
        and not key.to_user_string().startswith("int_")
    } - {"holidays", "dr_events"}
    chain = {"raw_meter_readings", "compacted_readings", "published_warehouse"}
    assert set(policies(definitions)) == marts | chain


def longest_gap(cron: str) -> timedelta:
    """Longest time between two ticks within three weeks."""
    start = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    ticks = schedule_execution_time_iterator(start, cron, "UTC", ascending=True)
    end = datetime(2026, 3, 22, tzinfo=UTC)
    within = [tick for tick in islice(ticks, 3 * 7 * 24 * 12) if tick <= end]
    return max(after - before for before, after in pairwise(within))


def test_no_asset_is_stale_before_its_next_tick_and_a_run_of_five_minutes(
    definitions: dg.Definitions,
) -> None:
    gaps: dict[str, timedelta] = {}
    for schedule in definitions.schedules or []:
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert isinstance(schedule.cron_schedule, str)
        gap = longest_gap(schedule.cron_schedule)
        if schedule.job_name == REFRESH_WEEKS:
            # It looks every hour whether a week has ended, and asks once for each.
            gap = timedelta(days=7)
        made = definitions.resolve_job_def(schedule.job_name).asset_layer.selected_asset_keys
        for key in made:
            name = key.to_user_string()
            gaps[name] = min(gap, gaps.get(name, gap))
    found = policies(definitions)
    del found["raw_meter_readings"]
    tight = {
        name: (gaps[name], fail_window(policy))
        for name, policy in found.items()
        if not gaps[name] + 5 * MINUTE < fail_window(policy) <= gaps[name] + 2 * HOUR
    }
    assert tight == {}


def test_a_warning_comes_before_the_failure(definitions: dg.Definitions) -> None:
    for name, policy in policies(definitions).items():
        assert policy.warn_window is not None, name
        assert policy.warn_window.to_timedelta() < fail_window(policy), name


def test_the_check_of_the_poles_belongs_to_the_landed_readings_and_no_job(
    definitions: dg.Definitions,
) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("raw_meter_readings"), "poles_are_heard")
    assert key in definitions.resolve_asset_graph().asset_check_keys
    for job in definitions.resolve_all_job_defs():
        if job.name != "__ASSET_JOB":
            entries = job.asset_layer.data
            assert all(key not in entry.assets_def.check_keys for entry in entries), job.name


def test_the_alerting_sensors_run_from_the_start(definitions: dg.Definitions) -> None:
    running = {
        sensor.name: sensor.default_status == dg.DefaultSensorStatus.RUNNING
        for sensor in definitions.sensors or []
    }
    assert running == {
        "landed_hours": True,
        "late_days": True,
        "data_flow": True,
        "failures": True,
    }


def test_secrets_of_channels_are_no_part_of_what_the_ui_shows(data: DataDir) -> None:
    settings = Settings(
        data_dir=data.root,
        alert_channels="webhook",
        alert_webhook_url="https://example.org/T000-secret",  # type: ignore[arg-type]
    )
    assert "T000-secret" not in repr(settings)
    resources = build_definitions(settings).resources or {}
    assert "T000-secret" not in repr(resources)
