"""A lake that grows between builds, and what a warehouse holds."""

from __future__ import annotations

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

import duckdb
import pyarrow as pa

from ami_contract.lake import DataDir, floor_hour
from ami_contract.reading import ROW_SCHEMA
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.lake import compact_hour, compaction_connection, land
from ami_store.registry import write_registry

from .conftest import NOW, dbt_arguments, dbt_environment
from .dbt_fork import forked_dbt
from .fleet import Row

Tables = dict[str, list[tuple[Any, ...]]]

# What differs by design: the windows of the last run, and the history of events.
_NOT_COMPARED = {"superseded_events"}

# Neither the manifest as JSON nor dbt's log is read.
LEAN = ("--no-write-json", "--log-level-file", "none")

# Without what is made anew in every build from models that are compared.
RESTATED = (
    "--resource-type",
    "model",
    "--exclude",
    "path:models/marts/demand_response",
    "path:models/intermediate/demand_response",
    "path:models/marts/dimensions",
    "path:models/functions",
    "meter_data_quality_hourly+",
    "pole_health_hourly+",
    "int_meter_days+",
    "voltage_quality_daily+",
    "sarfi_indices",
    "feeder_events",
)


def land_rows(data: DataDir, rows: Iterable[Row], segment: str, minute: int) -> None:
    """Land the rows as one segment per hour and compact these hours, `minute` minutes after NOW."""
    hours: dict[datetime, list[Row]] = defaultdict(list)
    for row in rows:
        hours[floor_hour(row["event_ts"])].append(row)
    con = compaction_connection()
    for hour, of_hour in hours.items():
        land(data, hour, segment, pa.Table.from_pylist(of_hour, schema=ROW_SCHEMA))
        compact_hour(data, hour, now=NOW + timedelta(minutes=minute), con=con)
    con.close()


def register(data: DataDir, registry: list[Row]) -> None:
    """Write the registry."""
    write_registry(data.registry, pa.Table.from_pylist(registry, schema=REGISTRY_SCHEMA))


def build_models(data: DataDir, *arguments: str, without: tuple[str, ...] = ()) -> None:
    """Run dbt over what has landed; `without` are models to leave out."""
    output = data.root / "dbt.txt"
    status = forked_dbt(
        dbt_arguments(data, "build", *RESTATED, *without, *arguments, *LEAN),
        dbt_environment(data),
        output,
    )
    assert status == 0, output.read_text()


def tables_of(data: DataDir) -> Tables:
    """Rows of every table and view in the warehouse."""
    with duckdb.connect(str(data.warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        names = con.execute(
            "select table_name from duckdb_tables() where schema_name = 'main'"
            " and table_name not like '%_windows' union all"
            " select view_name from duckdb_views() where schema_name = 'main' and not internal"
        ).fetchall()
        return {
            name: con.execute(f'select * from "{name}"').fetchall()
            for (name,) in sorted(names)
            if name not in _NOT_COMPARED
        }


def _order(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(value) for value in row if not isinstance(value, float))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return bool(left == right)


def _differing(got: list[tuple[Any, ...]], want: list[tuple[Any, ...]]) -> list[Any]:
    """Pairs of rows, in some order, that are not the same; None where there is no other."""
    # Rows hold lists, which have no hash; what repr tells apart is compared below.
    left, right = Counter(map(repr, got)), Counter(map(repr, want))
    extra, lacking = left - right, right - left
    one = sorted((row for row in got if repr(row) in extra), key=_order)
    other = sorted((row for row in want if repr(row) in lacking), key=_order)
    return [
        (row, pair)
        for row, pair in zip_longest(one, other)
        if row is None or pair is None or not all(map(_same, row, pair))
    ]


def assert_same_tables(actual: Tables, expected: Tables) -> None:
    """The same rows in any order, floats within 1e-9."""
    assert actual.keys() == expected.keys()
    differing = {name: _differing(actual[name], rows) for name, rows in expected.items()}
    assert not any(differing.values()), "\n".join(
        f"{name} ({len(pairs)}): {pairs[0]}" for name, pairs in differing.items() if pairs
    )


def whole_build(data: DataDir) -> Tables:
    """Tables of a build of the whole lake; the warehouse stays as it is."""
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("checkpoint")
    kept = data.warehouse.with_suffix(".kept")
    shutil.copy(data.warehouse, kept)
    build_models(data, "--full-refresh")
    tables = tables_of(data)
    kept.replace(data.warehouse)
    return tables
