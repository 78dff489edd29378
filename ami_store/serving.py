"""Warehouse for many readers at once: reads published snapshots, gives rows of fixed statements.

`ServingWarehouse` is what the API knows; `DuckDbServing` here and `BigQueryServing` in
`serving_bigquery` are its two kinds.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb

from ami_contract.errors import WarehouseError
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder
from ami_contract.reading import MAX_EVENT_LEAD
from ami_store.lake import Hour, read_hour
from ami_store.recency import newest_readings
from ami_store.sql import memory_connection, text_literal
from ami_store.statements import DUCKDB_FUNCTIONS, Statement, duckdb_text
from ami_store.views import stored_files, stored_readings
from ami_store.warehouse import CATALOG

Row = dict[str, Any]
_ATTEMPTS: Final = 5
_STAGED: Final = "main.stg_readings"
_COMPACTED: Final = "lake.compacted_readings"
_HAS_LISTING: Final = (
    "SELECT count(*) FROM duckdb_tables() WHERE database_name = ? "
    "AND schema_name = 'lake' AND table_name = 'listing'"
)
_HOURS: Final = (
    "SELECT epoch_us(hour_ts) // 1000000, version FROM hours WHERE hour_ts >= ? AND hour_ts < ?"
)
# What is stored now is asked for a day at most.
_LIVE_SPAN: Final = timedelta(days=1)
# A meter that was silent for longer is known from the marts.
_LATELY: Final = timedelta(hours=1)


class WarehouseAbsent(WarehouseError):
    """Nothing is published yet."""


class WarehouseOutdated(WarehouseError):
    """What is published lacks a table, column or function: an older or partial build."""


class QueryTimeout(WarehouseError):
    """A statement took longer than it may; it was stopped."""


class Snapshot(Protocol):
    """One state of the warehouse; all its answers fit together.

    Attributes:
        id: another for every state, the same for the same state in any process.
        published_at: when it was published.
        listed_at: readings landed later are not in it; None when that is not known.
    """

    @property
    def id(self) -> str: ...

    @property
    def published_at(self) -> datetime: ...

    @property
    def listed_at(self) -> datetime | None: ...

    def query(
        self, statement: Statement, parameters: Mapping[str, object], timeout_s: float
    ) -> list[Row]:
        """Rows of a statement, at most its `row_limit`.

        Args:
            statement: one of `ami_store.statements`.
            parameters: a value for each of its names; `row_limit` may be left out.
            timeout_s: longest time it may take.

        Raises:
            QueryTimeout: it took longer.
            WarehouseOutdated: the snapshot does not have what it asks for.
            WarehouseError: anything else the warehouse refuses.
        """
        ...


class ServingWarehouse(Protocol):
    """A warehouse that threads may use at the same time.

    Attributes:
        check_every_s: how often `refresh` should be called.
    """

    @property
    def check_every_s(self) -> float: ...

    def lease(self) -> AbstractContextManager[Snapshot]:
        """The snapshot of the last `refresh`, which stays whole for the block; asks nothing.

        Raises:
            WarehouseAbsent: nothing is published.
            WarehouseError: what is published cannot be opened.
        """
        ...

    def refresh(self) -> bool:
        """Look for a newer snapshot and make it the one that is leased; whether there was one.

        Raises:
            WarehouseError: what is published cannot be opened; the snapshot before stays, and
                without one every lease tells it.
        """
        ...

    def close(self) -> None:
        """Let go of everything once the last lease has ended."""
        ...


# Another text whenever readings may have been stored that the marts have not seen; cheap.
LandedVersion = Callable[[], str]


def landed_version(data: DataDir, reach: timedelta) -> LandedVersion:
    """Which files lie in the lake for the last `reach`."""

    def version() -> str:
        now = datetime.now(UTC)
        return " ".join(
            hour.digest for hour in _hours_between(data, now - reach, now + MAX_EVENT_LEAD)
        )

    return version


def _hours_between(data: DataDir, begin: datetime, end: datetime) -> Iterator[Hour]:
    start = floor_hour(begin)
    while start < end:
        yield read_hour(data, start)
        start += HOUR


# Newest reading of each meter, as its pole and time, of the hours before a moment; the meters that
# are expected say when to stop looking.
LastHeard = Callable[[datetime, frozenset[str]], dict[str, tuple[str, datetime]]]


def landed_lately(data: DataDir) -> LastHeard:
    """Who was heard in the last hours, as the lake stands."""

    def heard(now: datetime, expected: frozenset[str]) -> dict[str, tuple[str, datetime]]:
        found = newest_readings(data, now - _LATELY, now, expected)
        return {name: (each.pole_id, each.event_ts) for name, each in found.meters.items()}

    return heard


def values_of(
    statement: Statement, parameters: Mapping[str, object], row_limit: int
) -> dict[str, object]:
    """Exactly the parameters that a statement names.

    Raises:
        ValueError: one is missing or unknown.
    """
    values = dict(parameters)
    if "row_limit" in statement.parameters:
        values.setdefault("row_limit", row_limit)
    if values.keys() != statement.parameters:
        raise ValueError(
            f"{statement.name} takes {sorted(statement.parameters)}, not {sorted(values)}"
        )
    return values


def check_row_limit(statement: Statement, rows: list[Row]) -> list[Row]:
    """The rows; raises WarehouseError when there are more than the statement may give."""
    if len(rows) > statement.row_limit:
        raise WarehouseError(
            f"{statement.name} gives more than {statement.row_limit} rows; narrow the question"
        )
    return rows


@dataclass
class _Attached:
    """A snapshot in a DuckDB of its own, with one connection for each reader at a time."""

    id: str
    published_at: datetime
    listed_at: datetime | None
    con: duckdb.DuckDBPyConnection
    cursors: queue.SimpleQueue[duckdb.DuckDBPyConnection]
    readers: int
    data: DataDir
    by_files: bool
    live: duckdb.DuckDBPyConnection
    users: int = 0
    retired: bool = False
    _live_turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def query(
        self, statement: Statement, parameters: Mapping[str, object], timeout_s: float
    ) -> list[Row]:
        values = values_of(statement, parameters, statement.row_limit)
        deadline = time.monotonic() + timeout_s
        with self._connection(statement, timeout_s) as con:
            stop = threading.Timer(max(deadline - time.monotonic(), 0), _interrupt, [con])
            stop.daemon = True
            stop.start()
            try:
                return self._rows(con, statement, values)
            except duckdb.InterruptException as error:
                raise _too_slow(statement, timeout_s) from error
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                raise WarehouseOutdated(
                    f"the published warehouse cannot answer {statement.name} "
                    f"({_first_line(error)}); run `ami build` with this version"
                ) from error
            except duckdb.Error as error:
                raise WarehouseError(f"{statement.name}: {_first_line(error)}") from error
            finally:
                stop.cancel()
                # A late interrupt must not meet the next reader's statement.
                stop.join()

    def _rows(
        self, con: duckdb.DuckDBPyConnection, statement: Statement, values: dict[str, object]
    ) -> list[Row]:
        by_files = self.by_files and statement.span is not None
        if by_files:
            values["files"] = self._files(con, statement, values)
            if not values["files"]:
                return []
        if statement.live_from:
            self._show_stored(con, values[statement.live_from])
        con.execute(duckdb_text(statement, by_files=by_files), values)
        names = [column[0] for column in con.description or []]
        rows = con.fetchmany(statement.row_limit + 1)
        return check_row_limit(statement, [dict(zip(names, row, strict=True)) for row in rows])

    @contextmanager
    def _connection(
        self, statement: Statement, timeout_s: float
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that nobody else uses; raises QueryTimeout."""
        if statement.live_from:
            if not self._live_turn.acquire(timeout=timeout_s):
                raise _too_slow(statement, timeout_s)
            try:
                yield self.live
            finally:
                self._live_turn.release()
            return
        try:
            con = self.cursors.get(timeout=timeout_s)
        except queue.Empty:
            raise _too_slow(statement, timeout_s) from None
        try:
            yield con
        finally:
            self.cursors.put(con)

    def _show_stored(self, con: duckdb.DuckDBPyConnection, since: object) -> None:
        """Make `raw_meter_readings` the files of this moment, of the day from `since` on."""
        assert isinstance(since, datetime)
        end = min(datetime.now(UTC) + MAX_EVENT_LEAD, since + _LIVE_SPAN)
        files = [
            path
            for hour in _hours_between(self.data, since, end)
            for path in stored_files(self.data, hour)
        ]
        con.execute(
            f"CREATE OR REPLACE VIEW memory.live.raw_meter_readings AS {stored_readings(files)}"
        )

    def _files(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Mapping[str, object],
    ) -> list[str]:
        """Files of the readings within the statement's span."""
        assert statement.span
        begin, end = (values[name] for name in statement.span)
        assert isinstance(begin, datetime)
        hours = cursor.execute(_HOURS, [floor_hour(begin), end]).fetchall()
        return [
            str(self.data.readings / hour_folder(datetime.fromtimestamp(at_s, UTC)) / name)
            for at_s, version in hours
            for name in version.split()
        ]

    def close(self) -> None:
        for _ in range(self.readers):
            self.cursors.get().close()
        self.live.close()
        self.con.close()


def _readings_function(con: duckdb.DuckDBPyConnection) -> str | None:
    """SQL of a function of files that gives what the view `readings` gives of all files.

    The view opens every file of the lake, which takes seconds once there are thousands. The
    function is made of the text of the published views. None where they are not as expected.
    """
    views = con.execute(
        "SELECT view_name, sql FROM duckdb_views() WHERE database_name = ? "
        "AND schema_name = 'main' AND view_name IN ('readings', 'stg_readings')",
        [CATALOG],
    ).fetchall()
    bodies = {name: sql.rstrip().rstrip(";").partition(" AS ")[2] for name, sql in views}
    stored = bodies.get("stg_readings", "").replace(_COMPACTED, "read_parquet(files)")
    body = bodies.get("readings", "").replace(_STAGED, f"({stored})")
    if "read_parquet(files)" not in body or _COMPACTED in body or _STAGED in body:
        return None
    qualified = re.sub(r"(?<![\w.])main\.", f"{CATALOG}.main.", body)
    return f"CREATE MACRO readings_of(files) AS TABLE {qualified}"


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):
        cursor.interrupt()


def _too_slow(statement: Statement, timeout_s: float) -> QueryTimeout:
    return QueryTimeout(
        f"{statement.name} took longer than {timeout_s:g} s; ask for a shorter window"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@dataclass
class DuckDbServing:
    """The local warehouse: attaches `serve.duckdb` read-only, anew after each publication.

    Every snapshot gets a DuckDB of its own, because one that knows a path goes on reading the old
    file. It is closed when the last of its leases ends.

    Attributes:
        data: where the warehouse lies.
        readers: statements that run side by side.
        threads: threads of one snapshot's DuckDB.
        memory_limit: of one snapshot's DuckDB.
        check_every_s: how often to look for another file.
    """

    data: DataDir
    readers: int = 4
    threads: int = 2
    memory_limit: str = "1GB"
    check_every_s: float = 0.5
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _refreshing: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _current: _Attached | None = field(default=None, repr=False)
    _trouble: WarehouseError | None = field(default=None, repr=False)

    @contextmanager
    def lease(self) -> Iterator[Snapshot]:
        """The snapshot of the last look; see `ServingWarehouse`."""
        attached = self._taken()
        if attached is None:
            raise self._trouble or WarehouseAbsent(
                f"{self.data.published_warehouse} does not exist: nothing is published yet; "
                "run `ami build`"
            )
        try:
            yield attached
        finally:
            with self._turn:
                attached.users -= 1
                last = attached.retired and not attached.users
            if last:
                attached.close()

    def refresh(self) -> bool:
        """Attach what is published now if it is another; see `ServingWarehouse`."""
        with self._refreshing:
            identity = _identity(self.data.published_warehouse)
            known = self._current.id if self._current else None
            if identity == known:
                return False
            self._trouble = None
            try:
                self._replace(self._attach() if identity else None)
            except WarehouseError as error:
                self._trouble = error
                raise
            return True

    def close(self) -> None:
        """See `ServingWarehouse`."""
        with self._refreshing:
            self._replace(None)

    def _taken(self) -> _Attached | None:
        with self._turn:
            if self._current:
                self._current.users += 1
            return self._current

    def _replace(self, new: _Attached | None) -> None:
        with self._turn:
            old, self._current = self._current, new
            if old:
                old.retired = True
            unused = old is not None and not old.users
        if old and unused:
            old.close()

    def _attach(self) -> _Attached | None:
        """The published snapshot; None when it has gone meanwhile."""
        path = self.data.published_warehouse
        for _ in range(_ATTEMPTS):
            before = _identity(path)
            if before is None:
                return None
            con = memory_connection(threads=self.threads, memory_limit=self.memory_limit)
            try:
                attached = self._open(con, path, before)
            except duckdb.Error as error:
                con.close()
                raise WarehouseError(
                    f"{path} cannot be opened ({_first_line(error)}); run `ami build`"
                ) from error
            if _identity(path) == before:
                return attached
            # Replaced while it was attached: which of the two it is, is not known.
            attached.close()
        raise WarehouseError(f"{path} is replaced faster than it can be attached")

    def _open(self, con: duckdb.DuckDBPyConnection, path: Path, identity: str) -> _Attached:
        con.execute(f"ATTACH {text_literal(path)} AS {CATALOG} (READ_ONLY)")
        for macro in DUCKDB_FUNCTIONS:
            con.execute(macro)
        function = _readings_function(con)
        if function:
            con.execute(function)
        path_of_names = [f"{CATALOG}.main", "memory.main"]
        listed_us = None
        if con.execute(_HAS_LISTING, [CATALOG]).fetchall()[0][0]:
            path_of_names.insert(1, f"{CATALOG}.lake")
            listed = con.execute(f"SELECT epoch_us(listed_at) FROM {CATALOG}.lake.listing")
            listed_us = (listed.fetchone() or (None,))[0]
        cursors: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        for _ in range(self.readers):
            cursor = con.cursor()
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.execute(f"SET search_path = {text_literal(','.join(path_of_names))}")
            cursors.put(cursor)
        con.execute("CREATE SCHEMA memory.live")
        live = con.cursor()
        live.execute("SET TimeZone = 'UTC'")
        names = ",".join(["memory.live", *path_of_names])
        live.execute(f"SET search_path = {text_literal(names)}")
        con.execute(f"SET allowed_directories = [{text_literal(self.data.root)}]")
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
        return _Attached(
            id=identity,
            published_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            listed_at=datetime.fromtimestamp(listed_us / 1e6, UTC) if listed_us else None,
            con=con,
            cursors=cursors,
            readers=self.readers,
            data=self.data,
            by_files=function is not None,
            live=live,
        )


def _identity(path: Path) -> str | None:
    """What tells a published file from the one before; None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
