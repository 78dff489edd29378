"""The lake of stored readings: reads landing files, gives committed hours.

The ingest lands immutable Parquet files by hour of `event_ts`. `compact_hour` merges an hour's
landed files into one sorted, deduplicated file and commits it by replacing the hour's manifest,
which lists what counts:

    stored readings of an hour = manifest.readings + manifest.copies + landed files not in
    manifest.merged

A file that the manifest has made superfluous stays for a grace time, so that a reader that listed
it before still finds it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir, hour_folder, hour_of_folder
from ami_contract.reading import ROW_SCHEMA
from ami_store.files import TEMPORARY_PREFIX, write_bytes, write_with
from ami_store.sql import file_list, text_literal

MANIFEST: Final = "manifest.json"
ABANDONED_AFTER: Final = timedelta(hours=6)
_LANDED_NAME: Final = re.compile(r"(?P<segment>[A-Za-z0-9_-]+)\.r(?P<rows>\d+)\.parquet")
_MEASURED: Final = (
    "voltage_v",
    "current_a",
    "power_kw",
    "reactive_kvar",
    "freq_hz",
    "quality_flags",
)


@dataclass(frozen=True)
class Manifest:
    """What counts for one hour.

    Attributes:
        readings: file names of the deduplicated readings.
        copies: file names of the copies taken out.
        merged: names of the landed files those were made of.
        rows: readings (deduplicated).
        copy_rows: copies taken out.
        conflicts: copies whose measured values differ from the kept one's.
        min_event_ts, max_event_ts: ISO 8601, of the readings.
        committed_at: ISO 8601, when this manifest replaced the one before.
    """

    readings: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    rows: int = 0
    copy_rows: int = 0
    conflicts: int = 0
    min_event_ts: str = ""
    max_event_ts: str = ""
    committed_at: str = ""


@dataclass(frozen=True)
class Hour:
    """One hour of the lake as it stands.

    Attributes:
        start: the UTC hour.
        manifest: its committed manifest (empty when it was never compacted).
        pending: landed files that are not merged yet.
    """

    start: datetime
    manifest: Manifest
    pending: list[Path]

    @property
    def stored_rows(self) -> int:
        """Rows stored for the hour, copies included."""
        waiting = sum(landed_rows(path) for path in self.pending)
        return self.manifest.rows + self.manifest.copy_rows + waiting

    @property
    def digest(self) -> str:
        """Changes exactly when another file has landed for the hour."""
        names = sorted({*self.manifest.merged, *(path.name for path in self.pending)})
        return _digest(names)


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def landed_name(segment: str, rows: int) -> str:
    """File name of a landed segment with `rows` rows; `segment` is of `[A-Za-z0-9_-]`."""
    return f"{segment}.r{rows}.parquet"


def landed_rows(path: Path) -> int:
    """Rows of a landed file, from its name.

    Raises:
        LakeError: the name was not made by `landed_name`.
    """
    match = _LANDED_NAME.fullmatch(path.name)
    if not match:
        raise LakeError(f"{path} is not a landed file of this lake; move it out of the landing")
    return int(match["rows"])


def land(data: DataDir, hour: datetime, segment: str, rows: pa.Table) -> Path:
    """Write `rows` (of `ROW_SCHEMA`, texts possibly dictionary-encoded) of one hour as one
    immutable landed file.

    The same segment written twice is one file. Returns its path; raises LakeError.
    """
    target = data.landing / hour_folder(hour) / landed_name(segment, rows.num_rows)
    if not target.exists():
        write_with(
            target,
            # Without Arrow's own schema readers get plain texts, however they were held here.
            lambda path: pq.write_table(rows, path, compression="zstd", store_schema=False),
        )
    return target


def read_manifest(folder: Path) -> Manifest:
    """Committed manifest of a compacted hour's folder, empty when there is none.

    Raises:
        LakeError: the file is damaged.
    """
    path = folder / MANIFEST
    try:
        return Manifest(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Manifest()
    except (ValueError, TypeError) as error:
        raise LakeError(
            f"{path} is damaged ({error}); restore it from a backup: it names the files that make "
            "up the hour"
        ) from error


def read_hour(data: DataDir, start: datetime) -> Hour:
    """The hour `start` as it stands now.

    The manifest is read after the landing is listed: a file merged in between then shows as
    merged, never twice.
    """
    landed = sorted((data.landing / hour_folder(start)).glob("[!.]*.parquet"))
    manifest = read_manifest(data.readings / hour_folder(start))
    merged = set(manifest.merged)
    return Hour(start, manifest, [path for path in landed if path.name not in merged])


def hours(data: DataDir) -> Iterator[Hour]:
    """Every hour that has anything stored, oldest first.

    Raises:
        LakeError: a folder or manifest is not of this lake; names it.
    """
    for start in sorted(_hour_starts(data)):
        hour = read_hour(data, start)
        if hour.manifest.readings or hour.pending:
            yield hour


def oldest_hour(data: DataDir) -> datetime | None:
    """First hour with anything stored, None for an empty lake; raises LakeError."""
    return min(_hour_starts(data), default=None)


def _hour_starts(data: DataDir) -> set[datetime]:
    starts = set()
    for table in (data.landing, data.readings):
        for folder in table.glob("dt=*/hr=*"):
            try:
                starts.add(hour_of_folder(folder))
            except ValueError as error:
                raise LakeError(f"{folder} is no hour of this lake; move it away") from error
    return starts


_COLUMNS: Final = ", ".join(ROW_SCHEMA.names)
_SAME_READING: Final = "PARTITION BY meter_id, seq, event_ts"
_ORDER: Final = ", ".join(
    [
        "ingest_ts",
        *(f"{name} NULLS LAST" for name in _MEASURED if name != "quality_flags"),
        "array_to_string(quality_flags, ',') NULLS LAST",
        "batch_id",
    ]
)


def _merge_sql(files: list[Path]) -> str:
    """Rank the copies of every reading; copy_no 1 is the one that is kept."""
    return f"""
        CREATE OR REPLACE TEMP TABLE merged AS
        SELECT
            {_COLUMNS},
            row_number() OVER (same ORDER BY {_ORDER}) AS copy_no,
            count(*) OVER same AS copies,
            row({", ".join(_MEASURED)})
                IS DISTINCT FROM first_value(row({", ".join(_MEASURED)})) OVER (
                    same ORDER BY {_ORDER}
                ) AS differs
        FROM read_parquet({file_list(files)})
        WINDOW same AS ({_SAME_READING})
    """


def compaction_connection() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB for `compact_hour`; opening one costs more than a small hour."""
    con = duckdb.connect(config={"threads": 2, "memory_limit": "1GB"})
    con.execute("SET TimeZone = 'UTC'")
    return con


def compact_hour(
    data: DataDir, start: datetime, *, now: datetime, con: duckdb.DuckDBPyConnection
) -> Hour:
    """Merge an hour's landed files into its committed, sorted, deduplicated file.

    Of the copies of a reading (same meter_id, seq, event_ts) the one with the smallest `ingest_ts`
    stays, then the one with the smallest measured values in the order of the contract, nulls last,
    then the smallest `batch_id`; the values stand for the payload hash, which no two warehouses
    compute alike. Does nothing when nothing is pending. Killed at any line and run again it gives
    the same files.

    Args:
        data: where the lake lies.
        start: the UTC hour.
        now: clock for `committed_at`.
        con: from `compaction_connection`.

    Returns:
        The hour after the commit.

    Raises:
        LakeError: a file cannot be read or written; names it.
    """
    hour = read_hour(data, start)
    if not hour.pending:
        return hour
    folder = data.readings / hour_folder(start)
    before = hour.manifest
    inputs = [folder / name for name in (*before.readings, *before.copies)] + hour.pending
    merged = sorted({*before.merged, *(path.name for path in hour.pending)})
    digest = _digest(merged)
    readings = folder / f"readings-{digest}.parquet"
    copies = folder / f"copies-{digest}.parquet"
    try:
        con.execute(_merge_sql(inputs))
        row = con.execute(
            """
            SELECT
                count(*) FILTER (copy_no = 1),
                count(*) FILTER (copy_no > 1),
                count(*) FILTER (differs),
                min(event_ts),
                max(event_ts)
            FROM merged
            """
        ).fetchone()
        assert row is not None
        rows, copy_rows, conflicts, first, last = row
        _copy(con, readings, _kept_sql(any_copies=copy_rows > 0))
        if copy_rows:
            order = "meter_id, event_ts, seq, copy_no"
            _copy(con, copies, f"SELECT {_COLUMNS} FROM merged WHERE copy_no > 1 ORDER BY {order}")
    except duckdb.Error as error:
        raise LakeError(f"cannot compact the hour {start:%Y-%m-%d %H:00}Z: {error}") from error
    manifest = Manifest(
        readings=[readings.name],
        copies=[copies.name] if copy_rows else [],
        merged=merged,
        rows=rows,
        copy_rows=copy_rows,
        conflicts=conflicts,
        min_event_ts=first.astimezone(UTC).isoformat(),
        max_event_ts=last.astimezone(UTC).isoformat(),
        committed_at=now.astimezone(UTC).isoformat(),
    )
    write_bytes(folder / MANIFEST, json.dumps(asdict(manifest)).encode())
    return read_hour(data, start)


def _kept_sql(*, any_copies: bool) -> str:
    conflicts = f"count(*) FILTER (differs) OVER ({_SAME_READING})" if any_copies else "0::BIGINT"
    return f"""
        SELECT {_COLUMNS}, copies, conflicting_copies
        FROM (SELECT *, {conflicts} AS conflicting_copies FROM merged)
        WHERE copy_no = 1
        ORDER BY meter_id, event_ts, seq
    """


def _copy(con: duckdb.DuckDBPyConnection, target: Path, query: str) -> None:
    options = "FORMAT parquet, COMPRESSION zstd"
    write_with(
        target, lambda path: con.execute(f"COPY ({query}) TO {text_literal(path)} ({options})")
    )


def remove_replaced(data: DataDir, start: datetime, *, now: datetime, grace: timedelta) -> int:
    """Delete an hour's files that its manifest replaced at least `grace` ago.

    Also deletes temporary files that a killed writer left behind hours ago. Returns how many.
    """
    folder = data.readings / hour_folder(start)
    manifest = read_manifest(folder)
    if not manifest.committed_at:
        return 0
    doomed: list[Path] = []
    if now - datetime.fromisoformat(manifest.committed_at) >= grace:
        kept = {*manifest.readings, *manifest.copies}
        landing = data.landing / hour_folder(start)
        doomed += [landing / name for name in manifest.merged if (landing / name).exists()]
        doomed += [p for p in folder.glob("[!.]*.parquet") if p.name not in kept]
    for place in (folder, data.landing / hour_folder(start)):
        for path in place.glob(f"{TEMPORARY_PREFIX}*"):
            age = now.timestamp() - path.stat().st_mtime
            if age >= ABANDONED_AFTER.total_seconds():
                doomed.append(path)
    for path in doomed:
        path.unlink(missing_ok=True)
    return len(doomed)
