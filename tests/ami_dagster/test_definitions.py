"""What Dagster loads: keys, groups, lineage, jobs, checks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from built_platform import Built

FUNCTIONS = {
    "dr_window",
    "dr_window_performance",
    "dr_window_summary",
    "dr_window_totals",
    "recent_sag_events",
}
GROUPS = {
    "edge": {"pubsub_topic", "meters"},
    "ingest": {"ingest_job", "raw_archive", "dead_letter"},
    "lake": {"raw_meter_readings", "compacted_readings"},
    "monitoring": {
        "voltage_events",
        "rms_variation_events",
        "outages",
        "comm_losses",
        "pole_events",
        "feeder_events",
        "sarfi_indices",
        "pole_health_hourly",
        "pole_health_daily",
        "feeder_health_daily",
        "voltage_quality_daily",
        "voltage_quality_weekly",
        "meter_data_quality_hourly",
        "superseded_events",
        "minute_agg_pole",
        "dim_meter",
        "dim_pole",
    },
    "demand_response": {
        "holidays",
        "dr_events",
        "validated_5min",
        "v_5min_pole",
        "dr_candidate_days",
        "dr_5min_baseline",
        "dr_event_performance",
        "dr_event_summary",
        "dr_event_totals",
        "dr_baseline_accuracy",
    },
    "serving": {
        "published_warehouse",
        "exports",
        "data_quality_report",
        "dr_window_report",
        "api",
        "operator_dashboard",
        *FUNCTIONS,
    },
}


def graph(built: Built) -> dg.AssetGraph:
    return built.definitions.resolve_asset_graph()


def names(keys: set[dg.AssetKey]) -> set[str]:
    return {key.to_user_string() for key in keys}


def test_every_asset_is_in_its_group(built: Built) -> None:
    found: dict[str, set[str]] = {}
    for key in graph(built).get_all_asset_keys():
        group = graph(built).get(key).group_name
        found.setdefault(group, set()).add(key.to_user_string())
    readings = found.pop("readings")
    on_the_way = {name for name in found["demand_response"] if name.startswith("int_")}
    assert {"int_dr_event_poles", "int_meter_slots"} <= on_the_way
    found["demand_response"] -= on_the_way
    assert found == GROUPS
    assert {"stg_readings", "stg_meters", "readings", "int_low_runs"} <= readings


def test_lineage_runs_from_the_topic_to_the_published_warehouse(built: Built) -> None:
    assets = graph(built)

    def above(name: str) -> set[str]:
        return names(assets.get(dg.AssetKey(name)).parent_keys)

    assert above("ingest_job") == {"pubsub_topic"}
    assert above("raw_meter_readings") == {"ingest_job"}
    assert above("compacted_readings") == {"raw_meter_readings"}
    assert above("stg_readings") == {"compacted_readings"}
    assert above("stg_meters") == {"meters"}
    assert above("published_warehouse") == {
        "readings",
        *GROUPS["monitoring"],
        *GROUPS["demand_response"],
        *FUNCTIONS,
    }


def test_every_asset_says_what_it_is(built: Built) -> None:
    undescribed = [
        key.to_user_string()
        for key in graph(built).get_all_asset_keys()
        if not (graph(built).get(key).description or "").strip()
    ]
    assert undescribed == []


def test_data_tests_of_dbt_are_asset_checks(built: Built) -> None:
    checks = graph(built).get_check_keys_for_assets({dg.AssetKey("voltage_events")})
    assert "events_of_a_meter_never_overlap" in {check.name for check in checks}


def test_publishing_depends_on_the_last_partition_so_that_no_run_lists_all_of_history(
    built: Built,
) -> None:
    [published] = [
        asset
        for asset in built.definitions.assets or []
        if isinstance(asset, dg.AssetsDefinition)
        and dg.AssetKey("published_warehouse") in asset.keys
    ]
    mappings = {
        type(dep.partition_mapping)
        for dep in published.specs_by_key[dg.AssetKey("published_warehouse")].deps
    }
    assert mappings == {dg.LastPartitionMapping}


def test_the_published_warehouse_is_stale_after_15_minutes(built: Built) -> None:
    policy = graph(built).get(dg.AssetKey("published_warehouse")).freshness_policy
    assert policy is not None
    assert policy.fail_window.to_timedelta() == timedelta(minutes=15)


def test_every_writer_of_the_warehouse_waits_in_one_pool(built: Built) -> None:
    pools = {
        asset.op.pool
        for asset in built.definitions.assets
        if isinstance(asset, dg.AssetsDefinition)
    }
    # Exports and reports only read.
    assert pools == {"warehouse", None}


def test_marts_are_partitioned_as_they_are_refreshed(built: Built) -> None:
    assets = graph(built)

    def partitioned(kind: type) -> set[str]:
        keys = assets.get_all_asset_keys()
        return names({key for key in keys if isinstance(assets.get(key).partitions_def, kind)})

    assert partitioned(dg.HourlyPartitionsDefinition) == {
        "raw_meter_readings",
        "compacted_readings",
        "minute_agg_pole",
        "pole_health_hourly",
        "meter_data_quality_hourly",
    }
    assert partitioned(dg.DailyPartitionsDefinition) == {
        "pole_health_daily",
        "feeder_health_daily",
        "voltage_quality_daily",
        "exports",
        "data_quality_report",
    }


def made_by(built: Built, job: str) -> set[str]:
    selected = built.definitions.resolve_job_def(job).asset_layer.selected_asset_keys
    return names(set(selected))


def test_every_model_is_made_by_the_hour_or_by_the_calendar(built: Built) -> None:
    models = {
        key.to_user_string()
        for asset in built.definitions.assets or []
        if isinstance(asset, dg.AssetsDefinition)
        for key in asset.keys
    }
    hours, calendar = made_by(built, "refresh_hours"), made_by(built, "refresh_calendar")
    assert hours | calendar == models - {"exports", "data_quality_report", "dr_window_report"}
    assert hours & calendar == {"published_warehouse"}
    days, weeks = made_by(built, "refresh_days"), made_by(built, "refresh_weeks")
    assert days | weeks == calendar
    assert weeks == {
        "voltage_quality_weekly",
        "sarfi_indices",
        "int_sarfi_observation",
        "published_warehouse",
    }


def test_sag_detection_makes_the_events_and_nothing_that_they_do_not_need(built: Built) -> None:
    made = made_by(built, "detect_sags")
    assert {"voltage_events", "superseded_events", "pole_events", "feeder_events"} <= made
    assert {"compacted_readings", "published_warehouse"} <= made
    assert not made & {"minute_agg_pole", "pole_health_hourly", "dr_5min_baseline", "outages"}
    layer = built.definitions.resolve_job_def("detect_sags").asset_layer
    checked = {key.asset_key for entry in layer.data for key in entry.assets_def.check_keys}
    assert names(checked) == {
        "compacted_readings",
        "voltage_events",
        "superseded_events",
        "pole_events",
        "feeder_events",
    }


def test_groups_read_from_left_to_right(built: Built) -> None:
    order = ["edge", "ingest", "lake", "readings", "monitoring", "demand_response", "serving"]
    assets = graph(built)
    backwards = [
        (parent.to_user_string(), key.to_user_string())
        for key in assets.get_all_asset_keys()
        for parent in assets.get(key).parent_keys
        if order.index(assets.get(parent).group_name) > order.index(assets.get(key).group_name)
    ]
    assert backwards == []
