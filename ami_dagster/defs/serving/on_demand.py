"""Assets that people ask for: reads the published warehouse, gives exports and reports of a day."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

import dagster as dg
from pydantic import Field

from ami_contract.lake import DataDir
from ami_dagster.defs.serving.quality_report import quality_report
from ami_dagster.partitions import DAY
from ami_dagster.resources import Lake
from ami_store.export import Exported, Order, export
from ami_store.files import TEMPORARY_PREFIX, recover_folder, replace_folder, write_bytes

GROUP = "serving"


class ExportConfig(dg.Config):
    """What `exports` writes."""

    table: str = Field(
        "readings", description="readings, raw_meter_readings or a table of the warehouse."
    )
    form: Literal["parquet", "csv"] = Field("parquet", description="Form of the files.")
    pole_ids: list[str] = Field([], description="Only these poles; empty: all.")
    one_file_per_pole: bool = Field(True, description="False: one file for the day.")


def exports(partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`exports`: a UTC day of a table as files for business users."""

    @dg.asset(
        name="exports",
        deps=["published_warehouse"],
        group_name=GROUP,
        kinds={"parquet", "csv"},
        partitions_def=partitions,
        description=(
            "A UTC day of readings or of a mart as Parquet or CSV below `exports/<table>/`, by "
            "pole unless configured otherwise; as `ami export`. On demand."
        ),
    )
    def exported(
        context: dg.AssetExecutionContext, config: ExportConfig, lake: Lake
    ) -> dg.MaterializeResult:
        start = datetime.fromisoformat(context.partition_key).replace(tzinfo=UTC)
        by_pole = config.one_file_per_pole
        target = lake.data.exports / config.table / context.partition_key
        done = export_day(lake.data, config, start, target)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(target if by_pole else _single(target, config))),
                "dagster/row_count": done.rows,
                "files": done.files,
                "time_column": done.time,
            }
        )

    return exported


def export_day(data: DataDir, config: ExportConfig, start: datetime, target: Path) -> Exported:
    """Write the UTC day that starts at `start`; what an earlier run wrote is replaced whole.

    Raises:
        SettingsError: there is no such table, pole or row.
    """
    fresh = target.with_name(f"{TEMPORARY_PREFIX}{uuid4().hex}-{target.name}")
    order = Order(
        table=config.table,
        form=config.form,
        out=fresh if config.one_file_per_pole else _single(target, config),
        start=start,
        end=start + DAY,
        poles=tuple(config.pole_ids),
        meters=(),
        by="pole" if config.one_file_per_pole else None,
    )
    recover_folder(target)
    try:
        done = export(data, order)
        if config.one_file_per_pole:
            replace_folder(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return done


def _single(target: Path, config: ExportConfig) -> Path:
    return target.with_name(f"{target.name}.{config.form}")


def data_quality_report(partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`data_quality_report`: what arrived on a UTC day, what did not, and where to look."""

    @dg.asset(
        name="data_quality_report",
        deps=["published_warehouse", "dead_letter"],
        group_name=GROUP,
        kinds={"markdown"},
        partitions_def=partitions,
        description=(
            "Expected, received, missing and late readings of a UTC day, the worst meters and "
            "poles, silences and dead letters by reason: Markdown below `reports/`. On demand."
        ),
    )
    def report(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        start = datetime.fromisoformat(context.partition_key).replace(tzinfo=UTC)
        text = quality_report(lake.data, start)
        target = lake.data.reports / "data-quality" / f"{context.partition_key}.md"
        write_bytes(target, text.encode())
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.md(text),
                "path": dg.MetadataValue.path(str(target)),
            }
        )

    return report
