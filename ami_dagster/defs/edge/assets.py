"""External assets of the edge: the fleet's registry and the topic the gateways publish to."""

import dagster as dg

from ami_contract.settings import Settings

GROUP = "edge"


def assets(settings: Settings) -> list[dg.AssetSpec]:
    """Topic and registry as lineage shows them."""
    return [
        dg.AssetSpec(
            "pubsub_topic",
            group_name=GROUP,
            kinds={"pubsub"},
            description=(
                "Readings as gateways publish them: one message per gateway batch (or reading), "
                "JSON, NDJSON or Arrow, at least once, in any order."
            ),
            metadata={
                "topic": f"projects/{settings.project_id}/topics/{settings.pubsub_topic}",
                "emulator": settings.emulator_host,
            },
        ),
        dg.AssetSpec(
            "meters",
            group_name=GROUP,
            kinds={"csv"},
            description=(
                "Registry of the fleet, one row per meter and period of service; written by the "
                "simulator and the import, edited by users."
            ),
            metadata={"path": dg.MetadataValue.path(str(settings.data.registry))},
        ),
    ]
