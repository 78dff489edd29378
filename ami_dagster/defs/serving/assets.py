"""The published warehouse: reads what dbt built, gives the snapshot that readers attach."""

from collections.abc import Iterable

import dagster as dg

from ami_dagster.defs.lake.assets import WAREHOUSE_POOL
from ami_dagster.freshness import EVERY_5_MINUTES
from ami_dagster.resources import Lake
from ami_store.warehouse import collect_garbage, publish

GROUP = "serving"


def publication(models: Iterable[dg.AssetKey]) -> dg.AssetsDefinition:
    """`published_warehouse`, downstream of `models`."""

    @dg.asset(
        name="published_warehouse",
        deps=list(models),
        group_name=GROUP,
        kinds={"duckdb"},
        pool=WAREHOUSE_POOL,
        freshness_policy=EVERY_5_MINUTES,
        description=(
            "Snapshot of the warehouse for `ami sql` and the API, replaced whole after each build."
        ),
    )
    def published_warehouse(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        removed = collect_garbage(lake.data, now=lake.now(), grace=lake.removal_grace)
        if removed:
            context.log.info("removed %d replaced files from the lake", removed)
        published = publish(lake.data)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(lake.data.published_warehouse)),
                "bytes": published.bytes,
                "relations": len(published.tables),
                "lake_listed_at": published.listed_at.isoformat(),
            }
        )

    return published_warehouse
