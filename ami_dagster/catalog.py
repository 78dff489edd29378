"""Who owns an asset and where it is explained: reads asset specs, gives them with owner, page, tag.

To change who is asked about what, edit `OWNERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

PLATFORM_TEAM: Final = "team:data-platform"
OWNERS: Final = {
    "edge": "team:metering",
    "monitoring": "team:grid-operations",
    "demand_response": "team:demand-response",
}
"""Owner by group; all other groups are the platform team's."""

_PAGE_OF_GROUP: Final = {
    "edge": "pubsub",
    "ingest": "architecture",
    "lake": "architecture",
    "readings": "dbt",
    "monitoring": "voltage-events",
    "demand_response": "demand-response",
    "serving": "operations",
}
_PAGES: Final = {
    "meters": "operations",
    "raw_archive": "archive",
    "dead_letter": "deadletter",
    "minute_agg_pole": "dbt",
    "superseded_events": "dbt",
    "pole_health_hourly": "pole-health",
    "pole_health_daily": "pole-health",
    "feeder_health_daily": "pole-health",
    "voltage_quality_daily": "voltage-quality",
    "voltage_quality_weekly": "voltage-quality",
    "meter_data_quality_hourly": "voltage-quality",
    "dim_meter": "dbt",
    "dim_pole": "dbt",
    "dr_window": "demand-response",
    "dr_window_performance": "demand-response",
    "dr_window_summary": "demand-response",
    "dr_window_totals": "demand-response",
    "dr_window_report": "demand-response",
    "recent_sag_events": "voltage-events",
}
LAYER_TAG: Final = "ami/layer"
_LAYER_OF_PREFIX: Final = {"stg": "staging", "int": "intermediate"}
_MARTS: Final = ("readings", "monitoring", "demand_response")


def catalogued(
    metadata: Mapping[str, Mapping[str, Any]], *assets: dg.AssetsDefinition | dg.AssetSpec
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets with owner, page of the documentation and layer, as far as they have none.

    Args:
        metadata: further metadata, by an asset's name.
        assets: all of them.
    """
    return list(
        dg.map_asset_specs(
            lambda spec: _catalogued(spec, metadata.get(spec.key.path[-1], {})), assets
        )
    )


def _catalogued(spec: dg.AssetSpec, metadata: Mapping[str, Any]) -> dg.AssetSpec:
    group, name = str(spec.group_name), spec.key.path[-1]
    page = _PAGES.get(name, _PAGE_OF_GROUP.get(group, "architecture"))
    return spec.replace_attributes(
        owners=spec.owners or [OWNERS.get(group, PLATFORM_TEAM)],
        tags={LAYER_TAG: _layer(group, name), **spec.tags},
        # A path below the project: no web address is known where it is installed.
        metadata={"docs": dg.MetadataValue.path(f"docs/{page}.md"), **metadata, **spec.metadata},
    )


def _layer(group: str, name: str) -> str:
    """`staging`, `intermediate` or `mart` for models; the group for all else."""
    if group not in _MARTS:
        return group
    return _LAYER_OF_PREFIX.get(name.partition("_")[0], "mart")
