"""What a run of dbt has made: reads the warehouse after it, gives metadata of what was built.

One connection looks at all models of a run, once dbt has let go of the file. dagster-dbt's own
`fetch_row_counts` asks through dbt's adapter, a connection per model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import duckdb
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from ami_contract.errors import AmiError
from ami_contract.lake import DataDir
from ami_dagster.defs.analytics.pictures import PICTURES
from ami_store.built import built_warehouse, first_rows, newest_rows, row_counts, time_span
from ami_store.warehouse import Answer

# The first of these that a mart has is its time.
_TIMES: Final = (
    "start_ts",
    "slot_ts",
    "minute_ts",
    "hour_ts",
    "day_ts",
    "local_day",
    "local_date",
    "week_start_date",
    "period_start",
    "last_seen_ts",
    "day",
)
_PREVIEWED: Final = 5
_DIGITS: Final = 6


@dataclass(frozen=True)
class Facts:
    """Metadata of one materialization.

    Attributes:
        small: for each of its partitions.
        large: preview and picture, for its newest partition only: a backfill of a year by the hour
            would keep thousands of them.
    """

    small: dict[str, Any] = field(default_factory=dict)
    large: dict[str, Any] = field(default_factory=dict)


def is_mart(node: Mapping[str, Any]) -> bool:
    """Whether users query it: a mart or a seed, of which a preview tells something."""
    return node["resource_type"] == "seed" or node["fqn"][1] == "marts"


def time_column(columns: Iterable[str]) -> str | None:
    """The column that tells when a row's thing happened; None when there is none."""
    known = set(columns)
    return next((name for name in _TIMES if name in known), None)


def facts_of(data: DataDir, nodes: Iterable[Mapping[str, Any]]) -> dict[str, Facts]:
    """Rows of the tables among `nodes` (of dbt's manifest); of marts also span, rows, picture.

    Raises:
        WarehouseError: the warehouse cannot be read now.
    """
    with built_warehouse(data) as con:
        rows = row_counts(con)
        return {
            node["name"]: _facts(con, data, node, rows[node["name"]])
            for node in nodes
            if node["name"] in rows
        }


def no_facts(_nodes: Iterable[Mapping[str, Any]]) -> dict[str, Facts]:
    """Nothing is told."""
    return {}


def refused_rows(
    data: DataDir, compiled: Path, tests: Iterable[Mapping[str, Any]]
) -> dict[str, dg.TableMetadataValue]:
    """First rows that data tests object to, by the name of the test.

    Args:
        data: of the warehouse.
        compiled: folder of the queries that dbt has run.
        tests: nodes of dbt's manifest.

    Raises:
        WarehouseError: the warehouse cannot be read now.
    """
    queries = {
        test["name"]: path.read_text(encoding="utf-8")
        for test in tests
        for path in compiled.rglob(Path(test["path"]).name)
    }
    if not queries:
        return {}
    with built_warehouse(data) as con:
        return {name: _preview(first_rows(con, sql, _PREVIEWED)) for name, sql in queries.items()}


def no_rows(_tests: Iterable[Mapping[str, Any]]) -> dict[str, dg.TableMetadataValue]:
    """Nothing is told."""
    return {}


def _facts(
    con: duckdb.DuckDBPyConnection, data: DataDir, node: Mapping[str, Any], rows: int
) -> Facts:
    name = node["name"]
    facts = Facts({"dagster/row_count": rows})
    if not is_mart(node) or not rows:
        return facts
    time = time_column(node["columns"])
    if time:
        span = time_span(con, name, time)
        facts.small[f"min_{time}"], facts.small[f"max_{time}"] = span.first, span.last
    facts.large["preview"] = _preview(newest_rows(con, name, time, _PREVIEWED))
    picture = PICTURES[name](con, data) if name in PICTURES else None
    if picture:
        facts.large["picture"] = dg.MetadataValue.md(picture)
    return facts


def _preview(answer: Answer) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(dict(zip(answer.columns, map(_shown, row), strict=True)))
            for row in answer.rows
        ]
    )


def _shown(value: object) -> str | int | float | bool | None:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | int | None) else str(value)


def with_facts(
    events: Iterator[Any],
    manifest: Mapping[str, Any],
    look: Callable[[list[Mapping[str, Any]]], dict[str, Facts]],
    refused: Callable[[list[Mapping[str, Any]]], dict[str, dg.TableMetadataValue]],
    context: dg.AssetExecutionContext,
) -> Iterator[Any]:
    """The events of a run of dbt once it has ended.

    Materializations come with their facts, failed checks with rows that they object to. What cannot
    be told is left out with a warning: the models are built all the same.
    """
    held: list[Any] = []
    failure: DagsterDbtCliRuntimeError | None = None
    try:
        # What was built before a failure counts.
        held.extend(events)
    except DagsterDbtCliRuntimeError as error:
        failure = error
    nodes = manifest["nodes"]
    failed = [
        event for event in held if isinstance(event, dg.AssetCheckResult) and not event.passed
    ]
    facts: dict[str, Facts] = {}
    rows: dict[str, dg.TableMetadataValue] = {}
    try:
        facts = look([nodes[_unique_id(event)] for event in held if isinstance(event, dg.Output)])
        rows = refused([nodes[_unique_id(check)] for check in failed])
    except (AmiError, duckdb.Error) as error:
        context.log.warning("rows and previews are left out: %s", error)
    for event in held:
        if event in failed:
            yield _with_rows(event, rows.get(nodes[_unique_id(event)]["name"]))
            continue
        if not isinstance(event, dg.Output):
            yield event
            continue
        found = facts.get(manifest["nodes"][_unique_id(event)]["name"], Facts())
        key = context.asset_key_for_output(event.output_name)
        if context.assets_def.specs_by_key[key].partitions_def:
            context.add_asset_metadata(found.large, key, context.partition_keys[-1])
            yield event.with_metadata({**event.metadata, **found.small})
        else:
            yield event.with_metadata({**event.metadata, **found.small, **found.large})
    if failure:
        raise failure


def _with_rows(
    check: dg.AssetCheckResult, rows: dg.TableMetadataValue | None
) -> dg.AssetCheckResult:
    if rows is None:
        return check
    return check._replace(metadata={**(check.metadata or {}), "failing_rows": rows})


def _unique_id(event: dg.Output[Any] | dg.AssetCheckResult) -> str:
    return str(event.metadata["unique_id"].value)
