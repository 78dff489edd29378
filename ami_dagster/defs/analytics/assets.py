"""The dbt models as assets: reads the dbt manifest, gives one asset per model, tests as checks."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets
from dagster_dbt.asset_utils import default_description_fn
from dagster_dbt.dbt_manifest import validate_manifest
from packaging.version import Version

from ami_contract.lake import HOUR
from ami_dagster.column_lineage import read_parents
from ami_dagster.dbt_sources import dbt_sources
from ami_dagster.defs.analytics.columns import grains, table_metadata
from ami_dagster.defs.analytics.facts import facts_of, no_facts, no_rows, refused_rows, with_facts
from ami_dagster.defs.lake.assets import WAREHOUSE_POOL
from ami_dagster.freshness import mart_policy
from ami_dagster.jobs import REASON_TAG
from ami_dagster.leftovers import end_lost_dbt
from ami_dagster.partitions import Stretch
from ami_dagster.resources import Lake
from ami_store.files import write_bytes

_CALENDAR: Final = "tag:daily tag:weekly"
_READINGS: Final = "readings"
_DEMAND_RESPONSE: Final = "demand_response"
# As dagster-dbt names them: the asset's name, and two ids.
_RUN_TARGETS: Final = ("dbt_models-*", "calendar_models-*")
_KEPT_TARGETS: Final = 20


class AmiTranslator(DagsterDbtTranslator):
    """Keys are plain model names, groups follow the folders, partitions the tags of the marts."""

    def __init__(
        self,
        hourly: dg.PartitionsDefinition[str],
        daily: dg.PartitionsDefinition[str],
        project: DbtProject,
    ) -> None:
        super().__init__()
        self._partitions = {"hourly": hourly, "daily": daily}
        self._grains = grains(manifest_of(project))
        self._parents = read_parents(Path(project.project_dir))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The model's name; a source's key stands in its meta."""
        if dbt_resource_props["resource_type"] == "source":
            return super().get_asset_key(dbt_resource_props)
        return dg.AssetKey(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """`demand_response`, the mart's folder (`monitoring`), `serving` for functions.

        All before the marts is `readings`.
        """
        if dbt_resource_props["fqn"][1] == "functions":
            return "serving"
        if _DEMAND_RESPONSE in dbt_resource_props["fqn"]:
            return _DEMAND_RESPONSE
        return _mart_folder(dbt_resource_props) or _READINGS

    def get_partitions_def(
        self, dbt_resource_props: Mapping[str, Any]
    ) -> dg.PartitionsDefinition[str] | None:
        """Hours or days for the marts tagged `hourly` or `daily`."""
        if not _mart_folder(dbt_resource_props):
            return None
        tags = dbt_resource_props.get("tags", [])
        return next((self._partitions[tag] for tag in tags if tag in self._partitions), None)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """As dbt describes it, with the grain that its data tests hold it to, and the SQL."""
        grain = self._grains.get(dbt_resource_props["unique_id"])
        said = dbt_resource_props["description"].strip()
        if grain:
            said += f"\n\nOne row per {', '.join(grain)}."
        return default_description_fn({**dbt_resource_props, "description": said})

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """As dbt says, with the columns the columns come from."""
        parents = self._parents.get(dbt_resource_props["name"], {})
        return {
            **super().get_metadata(dbt_resource_props),
            **table_metadata(dbt_resource_props["columns"], parents),
        }

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """As dbt describes it; a mart is stale when its schedule has not made it anew."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        props = self.get_resource_props(manifest, unique_id)
        if props["resource_type"] != "model" or not _mart_folder(props):
            return spec
        return spec.replace_attributes(
            freshness_policy=mart_policy(props["name"], props.get("tags", []))
        )


def _mart_folder(dbt_resource_props: Mapping[str, Any]) -> str | None:
    """Folder of a mart or seed that users query; None for models on the way to them."""
    fqn = dbt_resource_props["fqn"]
    if dbt_resource_props["resource_type"] == "seed":
        return str(fqn[1])
    if fqn[1] == "marts":
        return "monitoring" if fqn[2] == "dimensions" else str(fqn[2])
    return None


def dbt_project(project_dir: Path, target: str | None = None) -> DbtProject:
    """The dbt project with a manifest that is not older than its sources.

    Parsing costs some seconds, so it happens only when a file of the project has changed. It asks
    no warehouse.

    Args:
        project_dir: where the project lies.
        target: of its profile, with a folder of its own below `target`; None: the profile's own.
    """
    project = DbtProject(
        project_dir=project_dir,
        profiles_dir=project_dir,
        target=target,
        target_path=Path("target", target) if target else Path("target"),
    )
    manifest = project.manifest_path
    if not manifest.exists() or _newest_source(project_dir) > manifest.stat().st_mtime:
        target = project_dir / project.target_path
        dbt_resource(project).cli(["parse", "--quiet"], target_path=target).wait()
    return project


def manifest_of(project: DbtProject) -> Mapping[str, Any]:
    """The project's manifest; read once, as dagster-dbt does."""
    return validate_manifest(project.manifest_path)


class LeanDbt(DbtCliResource):
    """dbt without what dagster-dbt does before each start of it, 5 s of CPU time.

    It asks `dbt --version` in a process of its own, though what is installed is known, and loads
    an adapter with all macros, of which only its `fetch_row_counts` and `fetch_column_metadata`
    make use: the facts of a table come from `facts.py`.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:
        """None: no adapter beside dbt's own process."""


def dbt_resource(project: DbtProject) -> LeanDbt:
    """The dbt of this Python environment, whether or not it is activated.

    Its words go into failed runs, alerts and log files, so they come without colours.
    """
    return LeanDbt(
        project_dir=project,
        dbt_executable=str(Path(sys.executable).parent / "dbt"),
        # dbt's debug log costs a twentieth of a short run; what failed stands in its other words.
        global_config_flags=["--no-use-colors", "--log-level-file", "info"],
    )


def _newest_source(project_dir: Path) -> float:
    return max(path.stat().st_mtime for path in dbt_sources(project_dir))


def dbt_models(project: DbtProject, translator: AmiTranslator) -> dg.AssetsDefinition:
    """All models that are refreshed by the hour, built in one run of dbt."""
    return _models("dbt_models", project, translator, restated, exclude=_CALENDAR)


def calendar_models(project: DbtProject, translator: AmiTranslator) -> dg.AssetsDefinition:
    """Daily and weekly models, built in one run of dbt; each time whole, so nothing is restated."""
    return _models("calendar_models", project, translator, lambda _tags: [], select=_CALENDAR)


def _models(
    name: str,
    project: DbtProject,
    translator: AmiTranslator,
    options: Callable[[Mapping[str, str]], list[str]],
    **selection: str,
) -> dg.AssetsDefinition:
    """Models of the selection; `options` gives further ones of dbt for the tags of a run."""

    @dbt_assets(
        manifest=project.manifest_path,
        project=project,
        dagster_dbt_translator=translator,
        name=name,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
        **selection,
    )
    def models(context: dg.AssetExecutionContext, dbt: DbtCliResource, lake: Lake) -> Iterator[Any]:
        for pid in end_lost_dbt(lake.data):
            context.log.warning("ended dbt (process %d), which a killed run had left", pid)
        targets = Path(dbt.project_dir) / project.target_path
        prune_targets(targets)
        target = targets / f"{name}-{context.run_id}"
        # Unit tests judge the code, not the data; `dbt test` and CI run them.
        # Nobody reads the artifacts of a run; writing them is a tenth of the time of a short one.
        build = ["build", "--no-write-json", "--exclude-resource-type", "unit_test"]
        build += options(context.run.tags)
        with parsed_once(lake.data.parsed_models(project.target), target):
            events = dbt.cli(build, context=context, target_path=target).stream()
            # Only a DuckDB beside us is cheap to look into.
            look, refused = no_facts, no_rows
            if project.target is None:
                look = partial(facts_of, lake.data)
                refused = partial(refused_rows, lake.data, target / "compiled")
            yield from with_facts(events, manifest_of(project), look, refused, context)

    return models


@contextmanager
def parsed_once(kept: Path, target: Path) -> Iterator[None]:
    """Let dbt, which runs inside with the folder `target`, parse only what has changed.

    dbt keeps what it has parsed for one warehouse; the project's own is that of whichever data
    folder was used first. So each keeps its own, in the file `kept`.
    """
    file = target / "partial_parse.msgpack"
    if kept.exists():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, file)
    before = file.stat().st_mtime_ns if file.exists() else 0
    yield
    if file.exists() and file.stat().st_mtime_ns != before:
        write_bytes(kept, file.read_bytes())


def prune_targets(target: Path, keep: int = _KEPT_TARGETS) -> None:
    """Delete the folders in which runs of Dagster left dbt's artifacts, all but the newest `keep`.

    Each holds some megabytes, and a day has three hundred runs. What another run is writing now is
    among the newest.
    """
    folders = [path for pattern in _RUN_TARGETS for path in target.glob(pattern)]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[keep:]:
        shutil.rmtree(folder, ignore_errors=True)


def restated(tags: Mapping[str, str]) -> list[str]:
    """Options of dbt that restate a run's hours even where nothing has changed.

    For runs that a person launched: schedules and sensors say why they ask for hours, and what has
    changed in these is enough for them.
    """
    stretch = None if REASON_TAG in tags else Stretch.of_tags(tags)
    if stretch is None:
        return []
    first, end = stretch.first, stretch.last + HOUR
    return [
        "--event-time-start",
        f"{first:%Y-%m-%dT%H:%M:%S}",
        "--event-time-end",
        f"{end:%Y-%m-%dT%H:%M:%S}",
    ]


def served_models(*models: dg.AssetsDefinition) -> list[dg.AssetKey]:
    """The models that users query: `readings`, the dimensions and the marts."""
    return sorted(
        spec.key
        for definition in models
        for spec in definition.specs
        if not spec.key.to_user_string().startswith(("stg_", "int_"))
    )
