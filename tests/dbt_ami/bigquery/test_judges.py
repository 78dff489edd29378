"""The judges judge: GoogleSQL refuses what BigQuery refuses, no difference of rows is missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .googlesql import GoogleSql, RefusedSql
from .warehouses import Rows, differences

SALES = "`p`.`d`.`sales`"


@pytest.fixture(scope="module")
def database(googlesql: Path) -> Iterator[GoogleSql]:
    """A database with one table of three rows."""
    with GoogleSql(googlesql) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _sales(database: GoogleSql) -> None:
    columns = [["day", "DATE"], ["taken", "TIMESTAMP"], ["item", "STRING"], ["amount", "FLOAT64"]]
    rows = [
        ["2026-03-01", 1772323200000000, "a", 1.5],
        ["2026-03-01", 1772326800000000, None, 2.0],
        ["2026-03-02", 1772409600000000, "b", 4.0],
    ]
    database.ask("load", name="sales", columns=columns, rows=rows, partition_by="day")


def rows_of(database: GoogleSql, sql: str) -> list[list[Any]]:
    """Rows of a query."""
    found: list[list[Any]] = database.ask("script", sql=sql)["rows"]
    return found


@pytest.mark.parametrize(
    "sql",
    [
        "select amount::int64 from `p`.`d`.`sales`",
        "select cast(amount as double) from `p`.`d`.`sales`",
        "select count(*) filter (where amount > 1) from `p`.`d`.`sales`",
        "select * exclude (item) from `p`.`d`.`sales`",
        "select price from `p`.`d`.`sales`",
        "select item, amount from `p`.`d`.`sales` group by item",
        "create or replace table `p`.`d`.`t` partition by nothing as (select 1 as x)",
    ],
)
def test_what_bigquery_does_not_know_is_refused(database: GoogleSql, sql: str) -> None:
    with pytest.raises(RefusedSql, match="INVALID_ARGUMENT"):
        database.ask("script", sql=sql)


def test_the_value_at_an_extreme_is_what_bigquery_documents(database: GoogleSql) -> None:
    latest = rows_of(database, f"select max_by(item, taken), min_by(amount, taken) from {SALES}")

    assert latest == [["b", 1.5]]


def test_a_view_follows_its_table(database: GoogleSql) -> None:
    database.ask(
        "script",
        sql=f"create or replace view `p`.`d`.`total` as select sum(amount) as s from {SALES}",
    )
    database.ask("script", sql=f"delete from {SALES} where item = 'b'")

    assert rows_of(database, "select s from `p`.`d`.`total`") == [[3.5]]


def test_a_merge_on_false_replaces_the_named_days_alone(database: GoogleSql) -> None:
    database.ask(
        "script",
        sql=f"""
        merge into {SALES} as held
        using (select date '2026-03-01' as day, timestamp_micros(0) as taken, 'c' as item,
            9.0 as amount) as fresh
        on false
        when not matched by source and held.day in (date '2026-03-01') then delete
        when not matched then insert (day, taken, item, amount) values (day, taken, item, amount)
        """,
    )

    assert rows_of(database, f"select item, amount from {SALES} order by amount") == [
        ["b", 4.0],
        ["c", 9.0],
    ]


def test_a_merge_by_key_replaces_equal_keys_and_keeps_the_rest(database: GoogleSql) -> None:
    database.ask(
        "script",
        sql=f"""
        merge into {SALES} as held
        using (select date '2026-03-05' as day, timestamp_micros(0) as taken, 'b' as item,
            7.0 as amount) as fresh
        on held.item = fresh.item
        when matched then update set day = fresh.day, taken = fresh.taken, amount = fresh.amount
        when not matched then insert (day, taken, item, amount) values (day, taken, item, amount)
        """,
    )

    assert rows_of(database, f"select amount from {SALES} order by amount") == [[1.5], [2.0], [7.0]]


def test_only_a_day_whose_rows_changed_counts_as_modified(database: GoogleSql) -> None:
    listing = """
        select partition_id, total_rows, last_modified_time
        from `p`.`d`.INFORMATION_SCHEMA.PARTITIONS where table_name = 'sales' order by 1
    """
    columns = [["day", "DATE"], ["amount", "FLOAT64"]]
    first = [["2026-03-01", 1.0], ["2026-03-02", 2.0]]
    database.ask("load", name="sales", columns=columns, rows=first, partition_by="day")
    before = rows_of(database, listing)
    late = [*first, ["2026-03-02", 3.0]]
    database.ask("load", name="sales", columns=columns, rows=late, partition_by="day")
    after = rows_of(database, listing)

    assert [row[:2] for row in after] == [["20260301", 1], ["20260302", 2]]
    assert after[0] == before[0]
    assert after[1][2] > before[1][2]


def test_rows_are_compared_as_a_whole() -> None:
    want = Rows(["k", "x"], {"x"}, [["a", 1.0], ["a", 2.0], ["b", None]])

    def given(*rows: list[Any]) -> list[str]:
        return differences(want, Rows(["k", "x"], {"x"}, list(rows)))

    assert given(["b", None], ["a", 2.0], ["a", 1.0 + 1e-12]) == []
    assert len(given(["a", 1.0], ["a", 2.1], ["b", None])) == 1
    assert len(given(["a", 1.0], ["a", 2.0], ["b", 0.0])) == 1
    assert given(["a", 1.0], ["b", None]) == ["missing: {'k': 'a'}"]
    assert given(["a", 1.0], ["a", 2.0], ["b", None], ["b", None]) == ["too many: {'k': 'b'}"]
    assert len(given(["a", 1.0], ["a", 2.0], ["c", None])) == 2
