"""DuckDB views of the lake: reads what is committed now, gives SQL that names exactly those files.

The views name files, not patterns: a reader sees one consistent state of every hour, whatever
lands or is compacted meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, hour_folder
from ami_contract.reading import ROW_FIELDS, Field
from ami_contract.registry import REGISTRY_FIELDS
from ami_contract.render import COMPACTED_FIELDS, duckdb_type
from ami_store.lake import LAYOUT, Hour, hours
from ami_store.registry import read_registry
from ami_store.sql import file_list


def _select(fields: tuple[Field, ...], files: list[Path]) -> str:
    if not files:
        columns = ", ".join(f"NULL::{duckdb_type(f.type)} AS {f.name}" for f in fields)
        return f"SELECT {columns} WHERE false"
    columns = ", ".join(f.name for f in fields)
    return f"SELECT {columns} FROM read_parquet({file_list(files)})"


def stored_files(data: DataDir, hour: Hour) -> list[Path]:
    """Files with the stored readings of an hour, copies included."""
    folder = data.readings / hour_folder(hour.start)
    return [
        *(folder / name for name in (*hour.manifest.readings, *hour.manifest.copies)),
        *hour.pending,
    ]


def stored_readings(files: list[Path]) -> str:
    """SQL of `raw_meter_readings` that are in `files`."""
    return _select(ROW_FIELDS, files)


def lake_files(data: DataDir) -> tuple[list[Path], list[Path]]:
    """Files that count as the lake stands now: of compacted readings, and all others."""
    compacted: list[Path] = []
    others: list[Path] = []
    for hour in hours(data):
        folder = data.readings / hour_folder(hour.start)
        readings = [folder / name for name in hour.manifest.readings]
        (compacted if hour.manifest.layout == LAYOUT else others).extend(readings)
        others += [folder / name for name in hour.manifest.copies]
        others += hour.pending
    return compacted, others


@contextmanager
def reading_lake_files(data: DataDir) -> Iterator[None]:
    """A DuckDB error inside becomes a LakeError that names the damaged Parquet file.

    Raises:
        LakeError: a file of the lake cannot be read. An error for which no file can be blamed
            passes on as it is.
    """
    try:
        yield
    except duckdb.Error as error:
        compacted, others = lake_files(data)
        for path in [*compacted, *others]:
            try:
                pq.read_table(path)
            except (OSError, pa.ArrowException) as damage:
                raise LakeError(
                    f"{path} cannot be read ({damage}); restore it from a backup, or move it away "
                    "and replay its readings from the archive"
                ) from error
        raise


def lake_views(data: DataDir) -> dict[str, str]:
    """Body of each view of the lake's tables, by table name, as the lake stands now."""
    compacted, others = lake_files(data)
    return {
        "raw_meter_readings": _select(ROW_FIELDS, compacted + others),
        "compacted_readings": _select(COMPACTED_FIELDS, compacted),
    }


def compacted_versions(data: DataDir) -> tuple[list[datetime], list[str]]:
    """Starts of the hours with compacted readings and the names of their files.

    The names change with the readings.
    """
    compacted = [
        hour for hour in hours(data) if hour.manifest.readings and hour.manifest.layout == LAYOUT
    ]
    return [hour.start for hour in compacted], [hour.version for hour in compacted]


def create_lake_views(con: duckdb.DuckDBPyConnection, data: DataDir, schema: str = "lake") -> None:
    """Create or replace the lake's tables in `schema`.

    Two views, the registry as the table `meters`, the compacted `hours` with the version of each,
    and `listing` with the time before which every commit is seen.

    Raises:
        LakeError: a manifest or the registry is damaged; names the file.
    """
    con.execute("SET TimeZone = 'UTC'")
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    con.execute(f"CREATE OR REPLACE TABLE {schema}.listing AS SELECT now() AS listed_at")
    for name, body in lake_views(data).items():
        con.execute(f"CREATE OR REPLACE VIEW {schema}.{name} AS {body}")
    # Plain lists: an Arrow table of them would import pandas, half a second in every start of dbt.
    con.execute(
        f"CREATE OR REPLACE TABLE {schema}.hours AS "
        "SELECT unnest(?::TIMESTAMPTZ[]) AS hour_ts, unnest(?::VARCHAR[]) AS version",
        compacted_versions(data),
    )
    registry = read_registry(data.registry)
    columns = ", ".join(f"{f.name}::{duckdb_type(f.type)} AS {f.name}" for f in REGISTRY_FIELDS)
    con.register("registry_rows", registry)
    con.execute(f"CREATE OR REPLACE TABLE {schema}.meters AS SELECT {columns} FROM registry_rows")
    con.unregister("registry_rows")
