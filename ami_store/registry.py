"""The registry file: reads and writes `registry/meters.csv`, which users edit with any editor."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from ami_contract.errors import LakeError
from ami_contract.registry import REGISTRY_FIELDS, REGISTRY_SCHEMA
from ami_store.files import locked, write_with


def read_registry(path: Path) -> pa.Table:
    """All rows of the registry as `REGISTRY_SCHEMA`; an absent file is an empty registry.

    Raises:
        LakeError: the file cannot be read, a column is missing, or a value is not of its type or
            beyond its bounds; names the file and the value.
    """
    if not path.exists():
        return REGISTRY_SCHEMA.empty_table()
    types = {f.name: f.type for f in REGISTRY_SCHEMA}
    try:
        table = pcsv.read_csv(
            path,
            convert_options=pcsv.ConvertOptions(
                column_types=types,
                include_columns=REGISTRY_SCHEMA.names,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise LakeError(f"{path}: {error}; mend the row or column and run again") from error
    for field in REGISTRY_SCHEMA:
        if not field.nullable and table[field.name].null_count:
            row = pc.index(pc.is_null(table[field.name]), True).as_py() + 2
            raise LakeError(f"{path}: line {row}: {field.name} is empty; every meter needs one")
    _check_values(path, table)
    return table.cast(REGISTRY_SCHEMA)


def _check_values(path: Path, table: pa.Table) -> None:
    # Without a scalar of Arrow's unless something is wrong: the first one imports pandas, which is
    # most of what opening the lake costs.
    for field in REGISTRY_FIELDS:
        if field.minimum is None or field.maximum is None:
            continue
        column = table[field.name]
        bounds = pc.min_max(column).as_py()
        if (
            bounds["min"] is None
            or (field.minimum <= bounds["min"] and bounds["max"] <= field.maximum)
        ) and not pc.any(pc.is_nan(column)).as_py():
            continue
        fits = pc.and_(
            pc.greater_equal(column, pa.scalar(field.minimum, column.type)),
            pc.less_equal(column, pa.scalar(field.maximum, column.type)),
        )
        row = pc.index(fits, False).as_py()
        raise LakeError(
            f"{path}: line {row + 2}: {field.name} = {column[row].as_py()}: "
            f"{field.minimum:g} … {field.maximum:g} {field.unit}"
        )
    for zone in pc.unique(table["time_zone"]).drop_null().to_pylist():
        try:
            ZoneInfo(zone)
        except (OSError, ValueError, KeyError) as error:
            row = pc.index(table["time_zone"], pa.scalar(zone)).as_py()
            raise LakeError(
                f"{path}: line {row + 2}: time_zone = {zone}: no IANA time zone, "
                "such as Europe/Berlin; leave it empty for the default"
            ) from error
    forwards = pc.greater(table["valid_to"], table["valid_from"])
    if not pc.all(forwards, min_count=0).as_py():
        backwards = pc.index(forwards, False).as_py()
        raise LakeError(
            f"{path}: line {backwards + 2}: valid_to is not after valid_from; "
            "leave it empty for a meter in service"
        )


def write_registry(path: Path, table: pa.Table) -> None:
    """Replace the registry by `table`, sorted by meter and start of service; raises LakeError."""
    ordered = table.select(REGISTRY_SCHEMA.names).sort_by(
        [("meter_id", "ascending"), ("valid_from", "ascending")]
    )
    options = pcsv.WriteOptions(quoting_style="needed")
    stamps = {
        name: pc.strftime(ordered[name], "%Y-%m-%dT%H:%M:%SZ")
        for name in ("valid_from", "valid_to")
    }
    for name, column in stamps.items():
        ordered = ordered.set_column(ordered.schema.get_field_index(name), name, column)
    write_with(path, lambda temporary: pcsv.write_csv(ordered, temporary, options))


def merge_registry(path: Path, rows: pa.Table) -> int:
    """Add the meters of `rows` that the registry does not know.

    A known meter stays as users left it, but for its service: that is widened to cover the one in
    `rows`, so that a second file or an older stretch of history counts as in service too. An open
    end stays open, and an end that users set is only moved by rows that have an end themselves.

    Others may merge at the same time; where nothing is new, nothing is written or locked.

    Returns:
        How many meters were added.
    """
    merged, added = _merged(path, rows)
    if merged is None:
        return 0
    with locked(path.with_suffix(".lock")):
        # Another process may have added its meters meanwhile.
        merged, added = _merged(path, rows)
        if merged is not None:
            write_registry(path, merged)
    return added


def _merged(path: Path, rows: pa.Table) -> tuple[pa.Table | None, int]:
    """The registry with the meters of `rows`, None where that changes nothing; how many are new."""
    kept = read_registry(path).to_pylist()
    before = [dict(row) for row in kept]
    periods: dict[str, list[dict[str, Any]]] = {}
    for row in kept:
        periods.setdefault(row["meter_id"], []).append(row)
    added = []
    for row in rows.to_pylist():
        mine = sorted(periods.get(row["meter_id"], []), key=lambda period: period["valid_from"])
        if not mine:
            added.append(row)
            continue
        first, last = mine[0], mine[-1]
        first["valid_from"] = min(first["valid_from"], row["valid_from"])
        if last["valid_to"] and row["valid_to"]:
            last["valid_to"] = max(last["valid_to"], row["valid_to"])
    if not added and kept == before:
        return None, 0
    table = pa.Table.from_pylist([*kept, *added], REGISTRY_SCHEMA)
    return table, len({row["meter_id"] for row in added})
