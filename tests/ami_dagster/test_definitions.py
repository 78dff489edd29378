"""What Dagster loads: keys, groups, lineage, jobs, checks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from built_platform import Built

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
    },
    "dimensions": {"dim_meter", "dim_pole"},
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
    "serving": {"published_warehouse"},
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
        *GROUPS["dimensions"],
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
    assert pools == {"warehouse"}
