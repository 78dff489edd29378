"""Columns and grain of the models: reads the dbt manifest, gives what the catalog shows of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.metadata import TableMetadataSet


def grains(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Columns whose values a row has alone, by dbt id, as far as a data test says so."""
    found = {
        unique_id: tuple(node["primary_key"])
        for unique_id, node in manifest["nodes"].items()
        if node.get("primary_key")
    }
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if test.get("name") == "unique_combination_of_columns":
            found[node["attached_node"]] = tuple(test["kwargs"]["combination"])
    return found


def table_metadata(
    columns: Mapping[str, Mapping[str, Any]], parents: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Column schema and lineage as Dagster knows them.

    A column's parents stand in its description too: the open-source UI shows no column lineage.

    Args:
        columns: of the manifest, by name.
        parents: `asset.column` of each column, where known.
    """
    schema = dg.TableSchema(
        [
            dg.TableColumn(
                name,
                type=column.get("data_type") or "?",
                description=_described(column["description"], parents.get(name, ())),
            )
            for name, column in columns.items()
        ]
    )
    lineage = dg.TableColumnLineage({name: list(map(_dep, parents[name])) for name in parents})
    return dict(TableMetadataSet(column_schema=schema, column_lineage=lineage if parents else None))


def source_metadata(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Column schema of every source, by its asset's name."""
    return {
        source["name"]: table_metadata(source["columns"], {})
        for source in manifest["sources"].values()
    }


def _described(description: str, parents: Sequence[str]) -> str:
    columns: dict[str, list[str]] = {}
    for parent in parents:
        asset, _, column = parent.partition(".")
        columns.setdefault(asset, []).append(column)
    listed = ", ".join(f"{asset} ({', '.join(names)})" for asset, names in columns.items())
    return f"{description.strip()} From {listed}." if listed else description.strip()


def _dep(parent: str) -> dg.TableColumnDep:
    asset, _, column = parent.partition(".")
    return dg.TableColumnDep(dg.AssetKey(asset), column)
