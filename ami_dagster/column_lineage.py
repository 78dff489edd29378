"""Where each column comes from: reads dbt's manifest and compiled SQL, gives parents per column.

`python -m ami_dagster.column_lineage` has dbt compile the project and rewrites
`dbt_ami/column_lineage.json`, which the definitions read: to follow every column takes longer than
definitions may take to load, and a run has no need to do it again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ami_contract.errors import WarehouseError
from ami_store.files import write_bytes

PROJECT: Final = Path(__file__).resolve().parent.parent / "dbt_ami"
FILE_NAME: Final = "column_lineage.json"
_DIALECT: Final = "duckdb"

Parents = Mapping[str, Mapping[str, Sequence[str]]]
"""`parent.column` of every column of every model."""


def read_parents(project_dir: Path) -> Parents:
    """The rendered lineage of a dbt project."""
    parents: Parents = json.loads((project_dir / FILE_NAME).read_bytes())
    return parents


def column_parents(manifest: Mapping[str, Any], compiled: Path) -> dict[str, dict[str, list[str]]]:
    """Parents of all columns of the models whose SQL is among the files of `compiled`.

    Args:
        manifest: dbt's, with all columns of every model and source.
        compiled: dbt's folder `compiled` of a run, whose files say what DuckDB was asked.

    Returns:
        By model and column the columns of other models, seeds and sources that its value is
        computed of, as `name.column`; columns that only join, filter or order are not among them.
    """
    relations = _relations(manifest)
    return {
        node["name"]: _parents_in(path.read_text(), node, relations)
        for node in _models(manifest)
        if (path := compiled / node["package_name"] / node["original_file_path"]).exists()
    }


def _models(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    nodes = (node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    return iter(sorted(nodes, key=lambda node: str(node["name"])))


def _relations(manifest: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Models, seeds and sources by schema and table."""
    nodes = [*manifest["nodes"].values(), *manifest["sources"].values()]
    return {
        (node["schema"], node.get("identifier") or node["alias"]): node
        for node in nodes
        if node["resource_type"] in ("model", "seed", "source")
    }


def _parents_in(
    sql: str, node: Mapping[str, Any], relations: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, list[str]]:
    from sqlglot import exp
    from sqlglot.lineage import lineage

    read = {node["unique_id"], *node["depends_on"]["nodes"]}
    for relation in relations.values():
        if relation["unique_id"] in read and _is_function(relation):
            # What a call gives has the columns of the function, whatever it is given.
            name = relation["relation_name"]
            sql = re.sub(rf"{re.escape(name)}\([^()]*\)", name, sql)
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for (schema_name, table), relation in relations.items():
        if relation["unique_id"] in read:
            columns = dict.fromkeys(relation["columns"], "unknown")
            schema.setdefault(schema_name, {})[table] = columns
    tables = {node["database"]: schema}
    # Trimmed statements are for pictures of the lineage; to make them takes most of the time.
    found = lineage(None, sql, tables, dialect=_DIALECT, trim_selects=False)
    parents: dict[str, list[str]] = {}
    for column in node["columns"]:
        leaves = {
            (leaf.expression.db, leaf.expression.name, exp.to_column(leaf.name).name)
            for leaf in found[column].walk()
            if not leaf.downstream and isinstance(leaf.expression, exp.Table)
        }
        parents[column] = sorted(
            f"{relations[db, table]['name']}.{parent}"
            for db, table, parent in leaves
            if (db, table) in relations
            and relations[db, table] is not node
            # A function's argument may be taken for a column.
            and parent in relations[db, table]["columns"]
        )
    return parents


def _is_function(node: Mapping[str, Any]) -> bool:
    return bool(node.get("config", {}).get("materialized") == "table_function")


def render(parents: Mapping[str, Mapping[str, Sequence[str]]]) -> bytes:
    """Content of the file: a column per line, so that a change shows as what it is."""
    models = []
    for model, columns in sorted(parents.items()):
        lines = [f"  {json.dumps(name)}: {json.dumps(columns[name])}" for name in sorted(columns)]
        models.append(f" {json.dumps(model)}: {{\n" + ",\n".join(lines) + "\n }")
    return ("{\n" + ",\n".join(models) + "\n}\n").encode()


def main() -> None:
    """Compile the project beside an empty lake and rewrite the file.

    Raises:
        WarehouseError: dbt cannot compile the project.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "target"
        program = Path(sys.executable).parent / "dbt"
        project, place = str(PROJECT), str(target)
        places = ["--project-dir", project, "--profiles-dir", project, "--target-path", place]
        done = subprocess.run(  # noqa: S603  (our own command)
            [program, "--quiet", "compile", "--target", "duckdb", *places],
            env={**os.environ, "AMI_DATA_DIR": folder},
            check=False,
        )
        if done.returncode:
            raise WarehouseError("dbt could not compile the project; what it printed says why")
        manifest = json.loads((target / "manifest.json").read_bytes())
        write_bytes(PROJECT / FILE_NAME, render(column_parents(manifest, target / "compiled")))


if __name__ == "__main__":
    main()
