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
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ami_contract.errors import LakeError
from ami_contract.lake import HOUR, DataDir, hour_folder, hour_of_folder
from ami_contract.reading import ROW_SCHEMA
from ami_store.files import TEMPORARY_PREFIX, locked, write_bytes, write_with
from ami_store.sql import file_list, memory_connection, text_literal

MANIFEST: Final = "manifest.json"
ABANDONED_AFTER: Final = timedelta(hours=6)
_LANDED_NAME: Final = re.compile(r"(?P<segment>[A-Za-z0-9_-]+)\.r(?P<rows>\d+)\.parquet")
_TEXTS: Final = [field.name for field in ROW_SCHEMA if pa.types.is_string(field.type)]
_LANDED_STATISTICS: Final = ["event_ts", "meter_id", "pole_id"]
"""What readers of the landing filter by; the least and largest of all else cost a fifth of a
landed file's encoding."""
_MEASURED: Final = (
    "voltage_v",
    "current_a",
    "power_kw",
    "reactive_kvar",
    "freq_hz",
    "quality_flags",
)


# Raise it when the columns of compacted files change: older hours are then compacted again.
LAYOUT: Final = 3


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
        layout: which columns the readings have; `LAYOUT` when written now.
        thinned_at: ISO 8601, when copies were taken off the list because they are old.
        retired: names of files that no longer count but were there at the commit, each with the
            time (ISO 8601) since when.
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
    layout: int = 1
    thinned_at: str = ""
    retired: dict[str, str] = field(default_factory=dict)

    @property
    def replaced_at(self) -> str:
        """ISO 8601, when files of the hour were last taken off the list; empty before any were."""
        return self.thinned_at or self.committed_at


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
    def is_compacted(self) -> bool:
        """Whether all that has landed is merged into files of today's layout."""
        is_current = not self.manifest.readings or self.manifest.layout == LAYOUT
        return not self.pending and is_current

    @property
    def version(self) -> str:
        """Names of the files with its deduplicated readings; changes whenever those do."""
        return " ".join(self.manifest.readings)

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
            lambda path: pq.write_table(
                rows,
                path,
                compression="zstd",
                # Without Arrow's own schema readers get plain texts, however they were held here.
                store_schema=False,
                write_statistics=_LANDED_STATISTICS,
                # Without it most changed bits would be read as other numbers.
                write_page_checksum=True,
            ),
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
_KEY: Final = "meter_id, seq, event_ts"
_ORDER: Final = ", ".join(
    [
        "ingest_ts",
        *(f"{name} NULLS LAST" for name in _MEASURED if name != "quality_flags"),
        "array_to_string(quality_flags, ',') NULLS LAST",
        "batch_id",
    ]
)


def deduplicated(table: str) -> str:
    """SELECT of `table`'s stored rows without copies, by the rule of `compact_hour`."""
    return (
        f"SELECT {_COLUMNS} FROM {table} "
        f"QUALIFY row_number() OVER (PARTITION BY {_KEY} ORDER BY {_ORDER}) = 1"
    )


_MOST_CODES: Final = 100_000


def _hold(con: duckdb.DuckDBPyConnection, unique: list[Path], others: list[Path]) -> str:
    """Make `stored` of all rows, the keys that are `repeated` in it, and their rows `ranked`.

    Texts of few values are held as codes (of an ENUM in the order of the texts), which halves what
    sorting costs. Of ranked rows, copy_no 1 is the one that is kept. Few readings are stored twice,
    and ranking all of them would cost as much as all else.

    Args:
        con: from `compaction_connection`.
        unique: files without copies of a reading, neither in one nor across them.
        others: any files.

    Returns:
        Columns of `stored` and `ranked` as the contract has them, for a SELECT.
    """
    for table in ("stored", "repeated", "ranked"):
        con.execute(f"DROP TABLE IF EXISTS {table}")
    files = file_list([*unique, *others])
    counts = con.execute(
        f"SELECT {', '.join(f'approx_count_distinct({name})' for name in _TEXTS)} "
        f"FROM read_parquet({files})"
    ).fetchone()
    assert counts is not None
    coded = [name for name, count in zip(_TEXTS, counts, strict=True) if count <= _MOST_CODES]
    for name in coded:
        con.execute(f"DROP TYPE IF EXISTS code_of_{name}")
        con.execute(
            f"CREATE TYPE code_of_{name} AS ENUM "
            f"(SELECT DISTINCT {name} FROM read_parquet({files}) WHERE {name} IS NOT NULL "
            "ORDER BY 1)"
        )
    held = _replaced({name: f"{name}::code_of_{name}" for name in coded})
    parts = [
        f"SELECT {held}, {is_unique} AS is_unique FROM read_parquet({file_list(paths)})"
        for paths, is_unique in ((unique, "true"), (others, "false"))
        if paths
    ]
    values = f"row({', '.join(_MEASURED)})"
    for statement in (
        f"CREATE TEMP TABLE stored AS {' UNION ALL '.join(parts)}",
        f"""
        CREATE TEMP TABLE repeated AS
        SELECT {_KEY} FROM stored
        SEMI JOIN (SELECT {_KEY} FROM stored WHERE NOT is_unique) USING ({_KEY})
        GROUP BY ALL HAVING count(*) > 1
        """,
        f"""
        CREATE TEMP TABLE ranked AS
        SELECT
            {_COLUMNS},
            row_number() OVER (same ORDER BY {_ORDER}) AS copy_no,
            count(*) OVER same AS copies,
            {values} IS DISTINCT FROM first_value({values}) OVER (same ORDER BY {_ORDER})
                AS differs
        FROM stored
        SEMI JOIN repeated USING ({_KEY})
        WINDOW same AS (PARTITION BY {_KEY})
        """,
    ):
        con.execute(statement)
    return _replaced({name: f"{name}::VARCHAR" for name in coded})


def _replaced(expressions: dict[str, str]) -> str:
    """The contract's columns for a SELECT, some of them by an expression."""
    return ", ".join(
        f"{expressions[name]} AS {name}" if name in expressions else name
        for name in ROW_SCHEMA.names
    )


def compaction_connection() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB for `compact_hour`; opening one costs more than a small hour."""
    con = memory_connection(threads=2, memory_limit="1GB")
    con.execute("SET TimeZone = 'UTC'")
    return con


def compact_hour(
    data: DataDir, start: datetime, *, now: datetime, con: duckdb.DuckDBPyConnection
) -> Hour:
    """Merge an hour's landed files into its committed, sorted, deduplicated file.

    Of the copies of a reading (same meter_id, seq, event_ts) the one with the smallest `ingest_ts`
    stays, then the one with the smallest measured values in the order of the contract, nulls last,
    then the smallest `batch_id`; the values stand for the payload hash, which no two warehouses
    compute alike. Does nothing when the hour is compacted already. Killed at any line and run
    again it gives the same files.

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
    with alone_in_lake(data):
        hour = read_hour(data, start)
        if hour.is_compacted:
            return hour
        for path in hour.pending:
            if reason := damage(path):
                raise LakeError(
                    f"cannot compact the hour {start:%Y-%m-%d %H:00}Z: {path}: {reason}; "
                    f"`{replay_command(start)}` makes it anew from the archive"
                )
        merged = {*hour.manifest.merged, *(path.name for path in hour.pending)}
        _commit(data, start, *_unique_and_other(data, hour), merged, now, con)
    return read_hour(data, start)


def replay_command(start: datetime) -> str:
    """Command that makes an hour anew from the archive."""
    return f"ami replay --from {start:%Y-%m-%dT%H:%M} --to {start + HOUR:%Y-%m-%dT%H:%M}"


def damage(path: Path) -> str:
    """Why a landed file cannot be read as it was written; empty when it can."""
    try:
        # All pages are read for their checksums; texts stay as short as they are written.
        file = pq.ParquetFile(path, read_dictionary=_TEXTS, page_checksum_verification=True)
        with file:
            file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        return str(error).strip().splitlines()[0]
    return ""


@contextmanager
def alone_in_lake(data: DataDir, *, wait: bool = True) -> Iterator[None]:
    """No other process commits an hour inside the block.

    Raises:
        LockHeldError: one does now, and `wait` is False.
    """
    held = "hours are being compacted by another process; try again when its run has ended"
    with locked(data.run / "lake.lock", wait=wait, held=held):
        yield


def stored_files(data: DataDir, hour: Hour) -> list[Path]:
    """Files that hold all that is stored for an hour, copies included."""
    unique, others = _unique_and_other(data, hour)
    return unique + others


def _unique_and_other(data: DataDir, hour: Hour) -> tuple[list[Path], list[Path]]:
    """Files of an hour's deduplicated readings, and those with all else that is stored."""
    folder = data.readings / hour_folder(hour.start)
    unique = [folder / name for name in hour.manifest.readings]
    return unique, [folder / name for name in hour.manifest.copies] + hour.pending


def segment_of(landed: Path) -> str:
    """Segment that a landed file came from; raises LakeError as `landed_rows`."""
    landed_rows(landed)
    return landed.name.split(".", 1)[0]


@dataclass(frozen=True)
class Rebuilt:
    """An hour as it stands beside its rows made anew.

    Attributes:
        hour: as it stood when the rebuilding began.
        files: Parquet files of `ROW_SCHEMA` with the rows made anew.
        rows, new_rows: stored now, and made anew.
        missing: stored readings that are not among the new rows.
        fingerprint: of the new rows, whatever their order; None when they are the stored ones.
    """

    hour: Hour
    files: list[Path]
    rows: int
    new_rows: int
    missing: int
    fingerprint: str | None


def compare_rebuilt(
    data: DataDir, hour: Hour, files: list[Path], con: duckdb.DuckDBPyConnection
) -> Rebuilt:
    """What replacing an hour's rows by those in `files` would change; raises LakeError.

    Of a stored file that cannot be read only the number of its rows is known.
    """
    stored = stored_files(data, hour)
    readable = [path for path in stored if _is_readable(path)]
    try:
        before, after = (_fingerprint(con, found) for found in (readable, files))
        if not files:
            missing = before[0]
        elif before == after or not readable:
            missing = 0
        else:
            key = "SELECT meter_id, seq, event_ts FROM read_parquet"
            row = con.execute(
                f"SELECT count(*) FROM ({key}({file_list(readable)}) "
                f"EXCEPT {key}({file_list(files)}))"
            ).fetchone()
            assert row is not None
            missing = row[0]
    except duckdb.Error as error:
        raise LakeError(
            f"cannot compare the hour {hour.start:%Y-%m-%d %H:00}Z: {error}; if it names a file, "
            f"move that away and run `{replay_command(hour.start)}`"
        ) from error
    if readable != stored:
        missing = max(missing, hour.stored_rows - after[0])
    same = before == after and readable == stored
    text = None if same else f"{after[0]}-{after[1]}"
    return Rebuilt(hour, files, hour.stored_rows, after[0], missing, text)


def _is_readable(path: Path) -> bool:
    try:
        return pq.read_metadata(path).num_rows >= 0
    except (OSError, pa.ArrowInvalid):
        return False


def _fingerprint(con: duckdb.DuckDBPyConnection, files: list[Path]) -> tuple[int, int]:
    if not files:
        return (0, 0)
    row = con.execute(
        f"SELECT count(*), coalesce(sum(hash({_COLUMNS})::HUGEINT), 0) "
        f"FROM read_parquet({file_list(files)})"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def commit_rebuilt(
    data: DataDir,
    rebuilt: Rebuilt,
    segments: Set[str],
    *,
    now: datetime,
    con: duckdb.DuckDBPyConnection,
) -> Hour:
    """Replace an hour's rows by those made anew, in one commit; inside `alone_in_lake`.

    What has landed since the rebuilding began stays, unless it is of `segments`, whose readings
    are among the new rows.

    Raises:
        LakeError: a file cannot be read or written; the hour is as it was.
    """
    start = rebuilt.hour.start
    assert rebuilt.fingerprint is not None
    since = read_hour(data, start).pending
    # A name that no landed file has tells whoever watches the hour that it has changed.
    mark = landed_name(f"replay-{_digest([rebuilt.fingerprint])}", rebuilt.new_rows)
    merged = {
        *rebuilt.hour.manifest.merged,
        *(path.name for path in rebuilt.hour.pending),
        *(path.name for path in since if segment_of(path) in segments),
        mark,
    }
    _commit(data, start, [], rebuilt.files, merged, now, con)
    return read_hour(data, start)


def _commit(
    data: DataDir,
    start: datetime,
    unique: list[Path],
    others: list[Path],
    names: set[str],
    now: datetime,
    con: duckdb.DuckDBPyConnection,
) -> None:
    """Make of files (as `_hold` takes them) the hour's readings and copies.

    `names` is what was merged into them.
    """
    folder = data.readings / hour_folder(start)
    merged = sorted(names)
    digest = _digest([*merged, f"layout {LAYOUT}"])
    readings = folder / f"readings-{digest}.parquet"
    copies = folder / f"copies-{digest}.parquet"
    try:
        columns = _hold(con, unique, others)
        row = con.execute(
            """
            SELECT
                count(*) - (SELECT count(*) FILTER (copy_no > 1) FROM ranked),
                (SELECT count(*) FILTER (copy_no > 1) FROM ranked),
                (SELECT count(*) FILTER (differs) FROM ranked),
                min(event_ts),
                max(event_ts)
            FROM stored
            """
        ).fetchone()
        assert row is not None
        rows, copy_rows, conflicts, first, last = row
        _copy(con, readings, _kept_sql(columns))
        if copy_rows:
            order = "meter_id, event_ts, seq, copy_no"
            _copy(con, copies, f"SELECT {columns} FROM ranked WHERE copy_no > 1 ORDER BY {order}")
    except duckdb.Error as error:
        raise LakeError(
            f"cannot compact the hour {start:%Y-%m-%d %H:00}Z: {error}; if it names a file, "
            f"`{replay_command(start)}` makes the hour anew from the archive"
        ) from error
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
        layout=LAYOUT,
        retired=_retired(data, start, {readings.name, copies.name}, names, now),
    )
    write_bytes(folder / MANIFEST, json.dumps(asdict(manifest)).encode())


def _retired(
    data: DataDir, start: datetime, listed: Set[str], merged: Set[str], now: datetime
) -> dict[str, str]:
    """Files of an hour that a commit of `listed` files, made of `merged` ones, lets count no more.

    The open hour is committed again every few minutes, so each file has a time of its own.
    """
    folder, landing = data.readings / hour_folder(start), data.landing / hour_folder(start)
    before = read_manifest(folder)
    compacted = {path.name for path in folder.glob("[!.]*.parquet")} - listed
    landed = {path.name for path in landing.glob("[!.]*.parquet")} & merged
    just_now = {*before.readings, *before.copies} | (landed - {*before.merged})
    at = now.astimezone(UTC).isoformat()
    return {
        name: at if name in just_now else before.retired.get(name) or before.replaced_at or at
        for name in sorted(compacted | landed)
    }


def _kept_sql(columns: str) -> str:
    """SELECT of the deduplicated readings, sorted, with the steps of seq beside each.

    A window without an order follows the rows as they come, and they come sorted: the readings
    beside a reading are known without sorting a second time.

    Args:
        columns: as `_hold` gives them.
    """
    return f"""
    SELECT
        {columns},
        copies,
        conflicting_copies,
        nullif(array_to_string(quality_flags, ','), '') AS flag_text,
        CASE WHEN lag(meter_id) OVER () = meter_id THEN seq - lag(seq) OVER () END
            AS seq_step_before,
        CASE WHEN lead(meter_id) OVER () = meter_id THEN lead(seq) OVER () - seq END
            AS seq_step_after
    FROM (
        SELECT * FROM (
            SELECT {_COLUMNS}, 1::BIGINT AS copies, 0::BIGINT AS conflicting_copies
            FROM stored
            ANTI JOIN repeated USING ({_KEY})
            UNION ALL
            SELECT {_COLUMNS}, copies, conflicting_copies
            FROM (
                SELECT *, count(*) FILTER (differs) OVER (PARTITION BY {_KEY}) AS conflicting_copies
                FROM ranked
            )
            WHERE copy_no = 1
        )
        ORDER BY meter_id, event_ts, seq
    )
    """


def _copy(con: duckdb.DuckDBPyConnection, target: Path, query: str) -> None:
    options = "FORMAT parquet, COMPRESSION zstd"
    write_with(
        target, lambda path: con.execute(f"COPY ({query}) TO {text_literal(path)} ({options})")
    )


def drop_copies(data: DataDir, start: datetime, *, now: datetime) -> tuple[int, int]:
    """Commit that the copies of an hour do not count any more; inside `alone_in_lake`.

    The readings stay as they are, so nothing is built anew. `remove_replaced` deletes the files.

    Returns:
        How many files are off the list, and their bytes.

    Raises:
        LakeError: the manifest is damaged or cannot be written.
    """
    folder = data.readings / hour_folder(start)
    manifest = read_manifest(folder)
    sizes = [path.stat().st_size for name in manifest.copies if (path := folder / name).exists()]
    if manifest.copies:
        thinned_at = now.astimezone(UTC).isoformat()
        retired = manifest.retired | dict.fromkeys(manifest.copies, thinned_at)
        thinned = replace(manifest, copies=[], copy_rows=0, thinned_at=thinned_at, retired=retired)
        write_bytes(folder / MANIFEST, json.dumps(asdict(thinned)).encode())
    return len(manifest.copies), sum(sizes)


def remove_replaced(
    data: DataDir,
    start: datetime,
    *,
    now: datetime,
    grace: timedelta,
    before: datetime | None = None,
) -> int:
    """Delete an hour's files that have not counted for `grace`.

    Also deletes temporary files that a killed writer left behind hours ago. Returns how many.

    Args:
        data: where the lake lies.
        start: the UTC hour.
        now: clock.
        grace: how long a file stays after it was replaced.
        before: files that were replaced later stay too; None: none of them.
    """
    folder, landing = data.readings / hour_folder(start), data.landing / hour_folder(start)
    manifest = read_manifest(folder)
    if not manifest.replaced_at:
        return 0
    kept = {*manifest.readings, *manifest.copies}
    replaced = [landing / name for name in manifest.merged if (landing / name).exists()]
    replaced += [path for path in folder.glob("[!.]*.parquet") if path.name not in kept]
    doomed: list[Path] = []
    for path in replaced:
        # What a killed commit has left was never listed.
        at = datetime.fromisoformat(manifest.retired.get(path.name, manifest.replaced_at))
        if now - at >= grace and (before is None or at < before):
            doomed.append(path)
    for place in (folder, landing):
        for path in place.glob(f"{TEMPORARY_PREFIX}*"):
            age = now.timestamp() - path.stat().st_mtime
            if age >= ABANDONED_AFTER.total_seconds():
                doomed.append(path)
    for path in doomed:
        path.unlink(missing_ok=True)
    return len(doomed)
