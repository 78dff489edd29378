"""The published warehouse: reads what dbt built, gives the snapshot that readers attach."""

from collections.abc import Iterable, Sequence

import dagster as dg

from ami_contract.lake import HOUR, DataDir
from ami_dagster.defs.lake.assets import WAREHOUSE_POOL
from ami_dagster.failed_checks import failed, latest_evaluations
from ami_dagster.freshness import EVERY_5_MINUTES
from ami_dagster.jobs import EVENTS_TAG
from ami_dagster.leftovers import end_lost_dbt
from ami_dagster.partitions import Stretch
from ami_dagster.resources import Lake
from ami_store.warehouse import collect_garbage, publish, query

GROUP = "serving"


def publication(
    models: Iterable[dg.AssetKey], checks: Sequence[dg.AssetCheckKey]
) -> dg.AssetsDefinition:
    """`published_warehouse`, downstream of `models`.

    Args:
        models: what users query.
        checks: of the models. Readers keep the last good rows of a table while one of severity
            ERROR fails: the next run of another job would publish the rows that failed.
    """

    @dg.asset(
        name="published_warehouse",
        # Of all partitions Dagster would list every key of every model in each run.
        deps=[dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping()) for key in models],
        group_name=GROUP,
        kinds={"duckdb"},
        pool=WAREHOUSE_POOL,
        freshness_policy=EVERY_5_MINUTES,
        description=(
            "Snapshot of the warehouse for `ami sql` and the API, replaced whole after each build. "
            "Tables that failed a check stay as they were published before."
        ),
    )
    def published_warehouse(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        for pid in end_lost_dbt(lake.data):
            context.log.warning("ended dbt (process %d), which a killed run had left", pid)
        removed = collect_garbage(lake.data, now=lake.now(), grace=lake.removal_grace)
        if removed:
            context.log.info("removed %d replaced files from the lake", removed)
        refused = failed(latest_evaluations(context.instance, checks))
        published = publish(lake.data, keep={key.asset_key.path[-1] for key in refused})
        for name in published.kept:
            context.log.warning("%s failed a check; readers keep its last good rows", name)
        stretch = Stretch.of_tags(context.run.tags)
        if stretch and "voltage_events" in published.tables:
            met = events_met(lake.data, stretch)
            context.instance.add_run_tags(context.run_id, {EVENTS_TAG: str(met)})
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(lake.data.published_warehouse)),
                "bytes": published.bytes,
                "relations": len(published.tables),
                "kept_from_before": published.kept,
                "lake_listed_at": published.listed_at.isoformat(),
            }
        )

    return published_warehouse


def events_met(data: DataDir, stretch: Stretch) -> int:
    """Published voltage events that meet the hours of a stretch, from wherever to wherever."""
    [(count,)] = query(
        data,
        "SELECT count(*) FROM voltage_events WHERE start_ts < ? AND end_ts >= ?",
        [stretch.last + HOUR, stretch.first],
    ).rows
    return int(count)
