"""DuckDB for many readers: swapped without a failed answer, bounded in rows and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from serving_cases import CASES
from small_warehouse import publish_small, rows_of_marts
from support import stored_rows

from ami_contract.errors import WarehouseError
from ami_contract.lake import DataDir
from ami_store.lake import land
from ami_store.serving import (
    DuckDbServing,
    QueryTimeout,
    WarehouseAbsent,
    WarehouseOutdated,
    landed_lately,
    landed_version,
)
from ami_store.statements import (
    LIVE_TRACES,
    METER_QUALITY_TOTAL,
    NEWEST,
    POLE_NAMES,
    STATEMENTS,
    Statement,
)

SLOW = Statement(
    "slow", "select sum(a.range * b.range) as x from range(100000000) a, range(1000) b", 1
)
INJECTIONS = (
    "p1' or '1'='1",
    "p1'; drop table dim_pole; --",
    "' union select table_name from information_schema.tables --",
    "$pole_id",
    "@pole_id",
    "%",
    "\\",
    "p1\x00",
    "😀",
)


@pytest.fixture
def small(data: DataDir) -> Iterator[DuckDbServing]:
    """The small warehouse, attached."""
    publish_small(data)
    warehouse = DuckDbServing(data)
    warehouse.refresh()
    yield warehouse
    warehouse.close()


def ask(warehouse: DuckDbServing, statement: Statement, **values: Any) -> list[dict[str, Any]]:
    """Rows of a statement."""
    with warehouse.lease() as snapshot:
        return snapshot.query(statement, values, 10)


def test_every_statement_answers(small: DuckDbServing) -> None:
    empty = {"recent_events", "live_traces"}

    for statement, values in CASES:
        rows = ask(small, statement, **values)
        assert rows or statement.name in empty or values.get("meter_id") == "m4", statement.name
        for row in rows:
            for value in row.values():
                assert not isinstance(value, datetime) or value.utcoffset() == timedelta(0)


def test_no_value_of_any_parameter_is_taken_for_sql(small: DuckDbServing) -> None:
    texts = {"pole_id", "meter_id", "feeder_id", "severity", "scope", "event_id", "after_id",
             "method", "adjustment"}  # fmt: skip
    tried = 0
    for statement, values in CASES:
        for name in texts & statement.parameters:
            for text in INJECTIONS:
                rows = ask(small, statement, **{**values, name: text})
                # Nothing has such a name; an aggregate of nothing is a row, and a page may follow.
                assert not rows or name == "after_id" or statement is METER_QUALITY_TOTAL
                tried += 1
        if "pole_ids" in values:
            ask(small, statement, **{**values, "pole_ids": list(INJECTIONS)})

    assert tried > 200
    assert len(ask(small, POLE_NAMES)) == 3


def test_without_a_publication_a_lease_says_what_to_do(data: DataDir) -> None:
    warehouse = DuckDbServing(data)

    assert not warehouse.refresh()
    with pytest.raises(WarehouseAbsent, match="run `ami build`"), warehouse.lease():
        pass


def test_a_new_publication_is_seen_and_the_old_one_kept_while_it_is_read(
    small: DuckDbServing,
) -> None:
    with small.lease() as old:
        publish_small(small.data, {"dim_pole": rows_of_marts()["dim_pole"][:1]})
        assert small.refresh()
        assert not small.refresh()
        with small.lease() as new:
            assert new.id != old.id
            assert len(new.query(POLE_NAMES, {}, 10)) == 1
        # Whoever began with the old snapshot ends with it.
        assert len(old.query(POLE_NAMES, {}, 10)) == 3
    with pytest.raises(WarehouseError):
        old.query(POLE_NAMES, {}, 0.1)


def test_readers_meet_no_failure_while_snapshots_are_swapped(small: DuckDbServing) -> None:
    stop = threading.Event()
    failures: list[Exception] = []
    answers = 0

    def read() -> None:
        nonlocal answers
        while not stop.is_set():
            try:
                (row,) = ask(small, NEWEST)
                assert row["poles"] in (1, 3)
                answers += 1
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(4):
        rows = rows_of_marts()["dim_pole"][: 1 if number % 2 else 3]
        publish_small(small.data, {"dim_pole": rows})
        small.refresh()
    stop.set()
    for reader in readers:
        reader.join()

    assert not failures
    assert answers > 5


def test_a_damaged_publication_leaves_the_snapshot_before(small: DuckDbServing) -> None:
    small.data.published_warehouse.unlink()
    small.data.published_warehouse.write_bytes(b"x" * 20_000)

    with pytest.raises(WarehouseError, match="cannot be opened"):
        small.refresh()

    assert len(ask(small, POLE_NAMES)) == 3


def test_a_statement_beyond_its_time_is_stopped_and_the_connection_serves_on(
    small: DuckDbServing,
) -> None:
    begin_s = time.monotonic()
    with small.lease() as snapshot, pytest.raises(QueryTimeout, match=r"longer than 0\.2 s"):
        snapshot.query(SLOW, {}, 0.2)

    assert time.monotonic() - begin_s < 3
    for _ in range(2 * small.readers):
        assert len(ask(small, POLE_NAMES)) == 3


def test_more_rows_than_a_statement_may_give_are_an_error(small: DuckDbServing) -> None:
    with pytest.raises(WarehouseError, match="more than 2 rows"):
        ask(small, Statement("many", "select pole_id from dim_pole", 2))


def test_what_the_snapshot_lacks_is_named(small: DuckDbServing) -> None:
    with pytest.raises(WarehouseOutdated, match="dr_unknown"):
        ask(small, Statement("unknown", "select * from dr_unknown", 2))


def test_a_snapshot_can_neither_be_written_nor_left(small: DuckDbServing) -> None:
    for sql in (
        "delete from dim_pole",
        "copy dim_pole to '/tmp/out.csv'",
        "select * from read_csv('/etc/passwd')",
        "set lock_configuration = false",
        "attach '/tmp/x.duckdb' as x",
    ):
        with pytest.raises(WarehouseError):
            ask(small, Statement("bad", sql, 10))


def test_every_snapshot_closes_after_its_last_reader(small: DuckDbServing) -> None:
    lease = small.lease()
    snapshot = lease.__enter__()
    small.close()

    assert len(snapshot.query(POLE_NAMES, {}, 10)) == 3
    lease.__exit__(None, None, None)
    with pytest.raises((WarehouseError, duckdb.Error)):
        snapshot.query(POLE_NAMES, {}, 0.1)


def test_what_has_landed_since_is_read_live(small: DuckDbServing) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    version = landed_version(small.data, timedelta(hours=1))
    before = version()
    window = {"pole_id": "p1", "start": now - timedelta(seconds=9), "end": now}
    assert ask(small, LIVE_TRACES, **window) == []

    rows = stored_rows(now - timedelta(seconds=5), [240.0, 200.0, 201.0])
    land(small.data, now, "one", rows)

    assert version() != before
    assert [row["voltage_v"] for row in ask(small, LIVE_TRACES, **window)] == [240.0, 200.0, 201.0]
    assert landed_lately(small.data)(now, frozenset()) == {"m1": ("p1", now - timedelta(seconds=3))}


def test_statements_are_bounded_by_rows() -> None:
    for statement in STATEMENTS:
        assert 0 < statement.row_limit <= 100_000
