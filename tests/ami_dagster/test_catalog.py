"""What the catalog says of every asset: owner, tags, page, grain, columns and their parents."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dagster as dg
import pytest
from built_platform import Built

from ami_dagster.catalog import LAYER_TAG
from ami_dagster.column_lineage import FILE_NAME, PROJECT, column_parents, read_parents, render
from ami_dagster.defs.serving.exposures import exposures

GROUPS = {"edge", "ingest", "lake", "readings", "monitoring", "demand_response", "serving"}
# One row per …; one row each; the columns and grain of another model.
GRAIN = re.compile(r"one\s+row|one\s+message|grain\s+of", re.IGNORECASE)
NOT_TABLES = {
    "ingest_job",
    "raw_archive",
    "dead_letter",
    "published_warehouse",
    "exports",
    "data_quality_report",
    "dr_window_report",
    "api",
    "operator_dashboard",
}


@pytest.fixture(scope="module")
def specs(built: Built) -> dict[str, dg.AssetSpec]:
    """Every asset by its name."""
    return {
        spec.key.to_user_string(): spec
        for asset in built.definitions.assets or []
        for spec in (asset.specs if isinstance(asset, dg.AssetsDefinition) else [asset])
        if isinstance(spec, dg.AssetSpec)
    }


def test_every_asset_has_owner_kind_group_and_layer(specs: dict[str, dg.AssetSpec]) -> None:
    lacking = {
        name
        for name, spec in specs.items()
        if not (
            spec.owners
            and all(owner.startswith("team:") for owner in spec.owners)
            and spec.kinds
            and spec.group_name in GROUPS
            and spec.tags.get(LAYER_TAG)
        )
    }
    assert lacking == set()
    assert specs["meters"].owners == ["team:metering"]
    assert specs["readings"].owners == ["team:data-platform"]
    assert specs["dr_events"].owners == ["team:demand-response"]
    assert specs["voltage_events"].owners == ["team:grid-operations"]
    assert specs["int_low_runs"].tags[LAYER_TAG] == "intermediate"
    assert specs["stg_readings"].tags[LAYER_TAG] == "staging"
    assert specs["dim_pole"].tags[LAYER_TAG] == "mart"


def test_every_asset_names_a_page_that_exists(specs: dict[str, dg.AssetSpec]) -> None:
    pages = {name: spec.metadata["docs"].value for name, spec in specs.items()}
    assert {page for page in pages.values() if not (PROJECT.parent / page).is_file()} == set()
    assert pages["pole_health_daily"] == "docs/pole-health.md"
    assert pages["dr_event_summary"] == "docs/demand-response.md"


def test_a_page_of_a_mart_tells_of_it(specs: dict[str, dg.AssetSpec]) -> None:
    marts = {name: spec for name, spec in specs.items() if spec.tags[LAYER_TAG] == "mart"}
    silent = {
        name
        for name, spec in marts.items()
        if name not in _said((PROJECT.parent / spec.metadata["docs"].value).read_text())
    }
    assert silent == set()


def _said(text: str) -> str:
    """Text in which `a_{b,c}_d` stands as a_b_d a_c_d too."""
    for before, choices, after in re.findall(r"(\w*)\{([\w,]+)\}(\w*)", text):
        text += "".join(f" {before}{choice}{after}" for choice in choices.split(","))
    return text


def test_every_table_says_its_grain(specs: dict[str, dg.AssetSpec]) -> None:
    silent = {
        name
        for name, spec in specs.items()
        if name not in NOT_TABLES and not GRAIN.search((spec.description or "").split("####")[0])
    }
    assert silent == set()
    assert "One row per pole_id, hour_ts." in (specs["pole_health_hourly"].description or "")


def test_every_column_of_every_table_is_described(specs: dict[str, dg.AssetSpec]) -> None:
    undescribed = [
        (name, column.name)
        for name, spec in specs.items()
        if name not in NOT_TABLES | {"pubsub_topic"}
        for column in spec.metadata["dagster/column_schema"].columns
        if not column.description
    ]
    assert undescribed == []


def test_a_column_knows_the_columns_it_is_made_of(specs: dict[str, dg.AssetSpec]) -> None:
    # voltage_events.start_ts <- int_low_runs.start_ts <- int_low_readings.event_ts;
    # min_voltage_pu = min_voltage_v / nominal_voltage_v, both of int_low_runs.
    lineage = specs["voltage_events"].metadata["dagster/column_lineage"].deps_by_column
    assert parents(lineage["start_ts"]) == {"int_low_runs.start_ts"}
    assert parents(lineage["min_voltage_pu"]) == {
        "int_low_runs.min_voltage_v",
        "int_low_runs.nominal_voltage_v",
    }
    # A function's columns are those of the function it calls.
    window = specs["dr_window_summary"].metadata["dagster/column_lineage"].deps_by_column
    assert "dr_window_performance.shed_kw" in parents(window["shed_kwh"])
    assert parents(lineage["scope"]) == {"int_event_scopes.scope"}
    # Whether an event is open hangs on the newest reading of its meter and of the lake.
    assert {"int_meter_hour_parts.last_received_ts", "int_lake_range.watermark_ts"} <= parents(
        lineage["is_open"]
    )
    [start] = [
        column
        for column in specs["voltage_events"].metadata["dagster/column_schema"].columns
        if column.name == "start_ts"
    ]
    assert start.description == (
        "event_ts of the first low reading, inclusive. [UTC] From int_low_runs (start_ts)."
    )


def parents(deps: list[dg.TableColumnDep]) -> set[str]:
    return {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps}


def test_every_parent_of_a_column_is_a_column_of_a_parent_asset(
    specs: dict[str, dg.AssetSpec],
) -> None:
    wrong = [
        (name, column, dep.asset_key.to_user_string(), dep.column_name)
        for name, spec in specs.items()
        if "dagster/column_lineage" in spec.metadata
        for column, deps in spec.metadata["dagster/column_lineage"].deps_by_column.items()
        for dep in deps
        if dep.asset_key not in {each.asset_key for each in spec.deps}
        or dep.column_name
        not in {
            each.name
            for each in specs[dep.asset_key.to_user_string()]
            .metadata["dagster/column_schema"]
            .columns
        }
    ]
    assert wrong == []


def test_the_rendered_column_lineage_is_that_of_the_models(built: Built) -> None:
    manifest = json.loads((PROJECT / "target" / "manifest.json").read_text())
    found: dict[str, dict[str, list[str]]] = {}
    for folder in run_targets(built):
        found |= column_parents(manifest, folder / "compiled")
    rendered = read_parents(PROJECT)
    assert set(found) == set(rendered), "run `make render`"
    assert found == rendered, "run `make render`"
    assert render(found) == (PROJECT / FILE_NAME).read_bytes()


def run_targets(built: Built) -> list[Path]:
    """Folders in which the runs of dbt that built the platform left what they compiled."""
    folders = list((built.data.root / "targets").iterdir())
    assert len(folders) == 2, folders
    return folders


def test_the_lineage_ends_in_what_uses_the_marts(specs: dict[str, dg.AssetSpec]) -> None:
    above = {dep.asset_key.to_user_string() for dep in specs["api"].deps}
    assert {"published_warehouse", "voltage_events", "pole_health_hourly"} <= above
    assert specs["api"].group_name == "serving"
    assert specs["api"].kinds == {"api"}


def test_an_exposure_that_dagster_makes_itself_is_no_second_asset() -> None:
    manifest = {
        "nodes": {"model.ami.readings": {"name": "readings"}},
        "exposures": {
            name: {
                "name": name,
                "label": None,
                "type": "analysis",
                "maturity": None,
                "url": "https://example.org/book",
                "description": "Files.",
                "depends_on": {"nodes": ["model.ami.readings"]},
            }
            for name in ("exports", "notebook")
        },
    }

    @dg.asset
    def exports() -> None: ...

    [spec] = exposures(manifest, [exports])
    assert spec.key == dg.AssetKey("notebook")
    assert spec.metadata["url"] == dg.MetadataValue.url("https://example.org/book")


def test_names_of_nodes_are_unique(specs: dict[str, dg.AssetSpec]) -> None:
    labels = [spec.key.path[-1] for spec in specs.values()]
    assert len(labels) == len(set(labels))
