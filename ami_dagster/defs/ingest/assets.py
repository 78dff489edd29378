"""External assets of the ingest: the Beam job and the archive and dead letter it writes."""

import dagster as dg

from ami_contract.settings import Settings

GROUP = "ingest"


def assets(settings: Settings) -> list[dg.AssetSpec]:
    """Beam job, raw archive and dead letter as lineage shows them."""
    data = settings.data
    return [
        dg.AssetSpec(
            "ingest_job",
            deps=["pubsub_topic"],
            group_name=GROUP,
            kinds={"beam"},
            description=(
                "The Beam graph decode → validate → enrich → archive, landing, dead letter. "
                "Locally `ami ingest`, a loop of micro-batches that acknowledges last."
            ),
            metadata={
                "subscription": (
                    f"projects/{settings.project_id}/subscriptions/{settings.pubsub_subscription}"
                )
            },
        ),
        dg.AssetSpec(
            "raw_archive",
            deps=["ingest_job"],
            group_name=GROUP,
            kinds={"json"},
            description=(
                "What arrived, as it arrived, with attributes and times; JSON Lines and Arrow, "
                "by pole and minute of event_ts once the minute is closed. `ami replay` reads it."
            ),
            metadata={"path": dg.MetadataValue.path(str(data.archive))},
        ),
        dg.AssetSpec(
            "dead_letter",
            deps=["ingest_job"],
            group_name=GROUP,
            kinds={"json"},
            description="What was refused, with code, field, reason and payload; JSON Lines.",
            metadata={"path": dg.MetadataValue.path(str(data.deadletter))},
        ),
    ]
