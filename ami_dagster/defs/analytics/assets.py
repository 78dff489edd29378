"""The dbt models as assets: reads the dbt manifest, gives one asset per model, tests as checks."""

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

from ami_dagster.defs.lake.assets import WAREHOUSE_POOL
from ami_dagster.resources import Lake
from ami_store.warehouse import published_listing

_GROUPS = {"staging": "readings", "intermediate": "readings", "readings": "readings"}


class AmiTranslator(DagsterDbtTranslator):
    """Keys are plain model names; groups follow the model folders."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The model's name; a source's key stands in its meta."""
        if dbt_resource_props["resource_type"] == "source":
            return super().get_asset_key(dbt_resource_props)
        return dg.AssetKey(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """`readings`, or the mart's folder (`monitoring`, `demand_response`)."""
        folder = dbt_resource_props["fqn"][1]
        if folder == "marts":
            return str(dbt_resource_props["fqn"][2])
        return _GROUPS.get(folder, folder)


def dbt_project(project_dir: Path) -> DbtProject:
    """The dbt project with a manifest that is not older than its sources.

    Parsing costs some seconds, so it happens only when a file of the project has changed.
    """
    project = DbtProject(project_dir=project_dir, profiles_dir=project_dir)
    manifest = project.manifest_path
    if not manifest.exists() or _newest_source(project_dir) > manifest.stat().st_mtime:
        target = project_dir / project.target_path
        dbt_resource(project).cli(["parse", "--quiet"], target_path=target).wait()
    return project


def dbt_resource(project: DbtProject) -> DbtCliResource:
    """The dbt of this Python environment, whether or not it is activated."""
    return DbtCliResource(
        project_dir=project, dbt_executable=str(Path(sys.executable).parent / "dbt")
    )


def macros_are_newer(project_dir: Path, published: datetime | None) -> bool:
    """Whether a macro changed after the warehouse was published.

    dbt itself notices changed models and thresholds and builds them whole, but not macros.
    """
    if published is None:
        return False
    newest = max(path.stat().st_mtime for path in (project_dir / "macros").rglob("*.sql"))
    return newest > published.timestamp()


def _newest_source(project_dir: Path) -> float:
    folders = ("models", "macros", "tests", "seeds")
    files = [path for folder in folders for path in (project_dir / folder).rglob("*.*")]
    return max(path.stat().st_mtime for path in [*files, *project_dir.glob("*.yml")])


def dbt_models(project: DbtProject) -> dg.AssetsDefinition:
    """All models, unpartitioned, built in one run of dbt."""

    @dbt_assets(
        manifest=project.manifest_path,
        project=project,
        dagster_dbt_translator=AmiTranslator(),
        name="dbt_models",
        pool=WAREHOUSE_POOL,
    )
    def models(context: dg.AssetExecutionContext, dbt: DbtCliResource, lake: Lake) -> Iterator[Any]:
        # Unit tests judge the code, not the data; `dbt test` and CI run them.
        arguments = ["build", "--exclude-resource-type", "unit_test"]
        if macros_are_newer(Path(project.project_dir), published_listing(lake.data)):
            context.log.info("a macro has changed since the last publication: building all anew")
            arguments.append("--full-refresh")
        yield from dbt.cli(arguments, context=context).stream()

    return models


def served_models(models: dg.AssetsDefinition) -> list[dg.AssetKey]:
    """The models that users query: `readings` and the marts."""
    return sorted(
        spec.key
        for spec in models.specs
        if spec.group_name not in _GROUPS.values() or spec.key == dg.AssetKey("readings")
    )
