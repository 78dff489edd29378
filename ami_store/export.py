"""Export: reads a table of the published warehouse (or the lake), gives CSV or Parquet files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ami_contract.errors import LakeError, SettingsError, WarehouseError
from ami_contract.lake import DataDir
from ami_store.files import TEMPORARY_PREFIX, atomic_path, fsync_folder
from ami_store.lake import deduplicated
from ami_store.warehouse import connect

READINGS: Final = "readings"
Form = Literal["csv", "parquet"]
By = Literal["day", "pole"]
_TIMES: Final = ("event_ts", "start_ts", "hour_ts", "minute_ts")
_KEYS: Final = ("pole_id", "meter_id", "seq")
_PART: Final = "__part"
_SAFE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_BATCH_ROWS: Final = 100_000


@dataclass(frozen=True)
class Order:
    """What to export.

    Attributes:
        table: `readings` (deduplicated), `raw_meter_readings` or a table of the warehouse.
        form: of the files.
        out: a file, or with `by` a folder that does not exist or is empty.
        start, end: of the table's time, [start, end); None: no bound.
        poles, meters: only these; empty: all.
        by: one file per UTC day or pole; None: one file.
    """

    table: str
    form: Form
    out: Path
    start: datetime | None = None
    end: datetime | None = None
    poles: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    by: By | None = None


@dataclass(frozen=True)
class Exported:
    """What was exported: rows, files, and the time column that bounded them."""

    rows: int
    files: int
    time: str


def export(
    data: DataDir, order: Order, *, progress: Callable[[int], None] = lambda rows: None
) -> Exported:
    """Write rows in the order of time, pole, meter and `seq`; the same rows give the same file.

    Times are UTC and their columns end in `_utc`; other names carry their units already. In CSV
    they are ISO 8601 and lists are joined by `|`. Files appear whole or not at all.

    Args:
        data: where warehouse and lake lie.
        order: what to export.
        progress: called with the rows written so far.

    Raises:
        SettingsError: there is no such table, column or row; `out` is in use.
        WarehouseError: DuckDB refuses the query.
        LakeError: the files cannot be written.
    """
    if order.form == "parquet" and order.out.suffix == ".gz":
        raise SettingsError(f"{order.out}: Parquet is compressed inside; leave out .gz")
    try:
        with connect(data) as con:
            source = _source(con, order.table)
            types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {source}").fetchall()}
            time = _time_column(order.table, types)
            sql, parameters = _query(order, source, types, time)
            reader = con.sql(sql, params=parameters).to_arrow_reader(_BATCH_ROWS)
            rows, files = _write(order, reader, progress)
    except duckdb.Error as error:
        raise WarehouseError(f"cannot export {order.table}: {error}") from error
    return Exported(rows, files, time)


def _source(con: duckdb.DuckDBPyConnection, table: str) -> str:
    found = con.execute(
        "SELECT DISTINCT table_name FROM information_schema.tables "
        "WHERE table_schema IN ('main', 'lake') ORDER BY 1"
    ).fetchall()
    names = [name for (name,) in found]
    if table in names:
        return f'"{table}"'
    if table == READINGS:  # nothing is published yet
        return f"({deduplicated('raw_meter_readings')})"
    raise SettingsError(f"there is no table {table!r}; there are {', '.join([READINGS, *names])}")


def _time_column(table: str, types: dict[str, str]) -> str:
    candidates = [*_TIMES, *types]
    for name in candidates:
        if types.get(name, "").startswith(("TIMESTAMP", "DATE")):
            return name
    raise SettingsError(f"{table} has no column with a time, so no range can be exported")


def _query(order: Order, source: str, types: dict[str, str], time: str) -> tuple[str, list[object]]:
    conditions, parameters = ["true"], list[object]()
    for bound, operator in ((order.start, ">="), (order.end, "<")):
        if bound is not None:
            conditions.append(f'"{time}" {operator} ?')
            parameters.append(bound)
    for name, values in (("pole_id", order.poles), ("meter_id", order.meters)):
        if values:
            if name not in types:
                raise SettingsError(f"{order.table} has no column {name}")
            conditions.append(f'list_contains(?, "{name}")')
            parameters.append(list(values))
    keys = [key for key in (time, *_KEYS) if key in types]
    ordered = [*keys, *(name for name in types if name not in keys)]
    columns = [_column(name, type_, order.form) for name, type_ in types.items()]
    if order.by == "pole" and "pole_id" not in types:
        raise SettingsError(f"{order.table} has no column pole_id to export by")
    part = {None: "''", "day": f"strftime(\"{time}\", '%Y-%m-%d')", "pole": "pole_id"}[order.by]
    names = ", ".join(f'source."{name}"' for name in ordered)
    return (
        f"SELECT {part} AS {_PART}, {', '.join(columns)} FROM {source} AS source "
        f"WHERE {' AND '.join(conditions)} ORDER BY {_PART}, {names}"
    ), parameters


def _column(name: str, type_: str, form: Form) -> str:
    quoted = f'source."{name}"'
    if type_.startswith("TIMESTAMP"):
        shown = f"strftime({quoted}, '%Y-%m-%dT%H:%M:%S.%fZ')" if form == "csv" else quoted
        suffix = "" if name.endswith("_utc") else "_utc"
        return f'{shown} AS "{name}{suffix}"'
    if form == "csv" and type_.endswith("[]"):
        return f"array_to_string({quoted}, '|') AS \"{name}\""
    return f'{quoted} AS "{name}"'


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...


def _write(
    order: Order, reader: pa.RecordBatchReader, progress: Callable[[int], None]
) -> tuple[int, int]:
    parts = _parts(reader)
    first = next(parts, None)
    if first is None:
        raise SettingsError(f"{order.table} has no rows of that range; nothing was written")
    if order.by is None:
        with atomic_path(order.out) as temporary:
            rows = _write_file(order, temporary, [first], parts, progress, 0)[0]
        return rows, 1
    with _whole_folder(order.out) as folder:
        rows, files, pending = 0, 0, [first]
        while pending:
            target = folder / _part_name(order, pending[0][0])
            target.parent.mkdir(parents=True)
            rows, pending = _write_file(order, target, pending, parts, progress, rows)
            files += 1
    return rows, files


_Part = tuple[str, pa.RecordBatch]


def _parts(reader: pa.RecordBatchReader) -> Iterator[_Part]:
    """Batches cut where the part changes, without the column that names it."""
    for batch in reader:
        if not batch.num_rows:
            continue
        runs = pc.run_end_encode(batch.column(0))
        start = 0
        plain = batch.select(range(1, batch.num_columns))
        for end, name in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
            yield name, plain.slice(start, end - start)
            start = end


def _write_file(
    order: Order,
    target: Path,
    pending: Sequence[_Part],
    parts: Iterator[_Part],
    progress: Callable[[int], None],
    rows: int,
) -> tuple[int, list[_Part]]:
    """Write one part; gives the rows so far and the beginning of the next part, if there is one."""
    name, batch = pending[0]
    with _writer(order, target, batch.schema) as writer:
        writer.write_batch(batch)
        rows += batch.num_rows
        progress(rows)
        for other, batch in parts:
            if other != name:
                return rows, [(other, batch)]
            writer.write_batch(batch)
            rows += batch.num_rows
            progress(rows)
    return rows, []


@contextmanager
def _writer(order: Order, target: Path, schema: pa.Schema) -> Iterator[_Writer]:
    if order.form == "parquet":
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            yield writer
        return
    compression = "gzip" if order.out.suffix == ".gz" else None
    options = pcsv.WriteOptions(quoting_style="needed", quoting_header="needed")
    with (
        pa.output_stream(target, compression=compression) as sink,
        pcsv.CSVWriter(sink, schema, write_options=options) as writer,
    ):
        yield writer


def _part_name(order: Order, part: str) -> str:
    if not _SAFE.fullmatch(part or ""):
        raise LakeError(f"{part!r} cannot name a folder; leave out --by")
    column = "pole_id" if order.by == "pole" else "dt"
    ending = (
        f"csv{'.gz' if order.out.suffix == '.gz' else ''}" if order.form == "csv" else "parquet"
    )
    return f"{column}={part}/{order.table}.{ending}"


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well; raises LakeError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} exists and is not empty; name a new folder")
    folder = out.parent / f"{TEMPORARY_PREFIX}{out.name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(out)
        fsync_folder(out.parent)
    except OSError as error:
        raise LakeError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
