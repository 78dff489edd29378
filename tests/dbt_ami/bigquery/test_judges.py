"""The judges judge: GoogleSQL refuses what BigQuery refuses, no difference of rows is missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .googlesql import GoogleSql, RefusedSql
from .warehouses import Rows, differences

SALES = "`p`.`d`.`sales`"
FIRST_DAY, DAY = 1772323200000000, 86_400_000_000  # 2026-03-01, µs


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
    database.ask("load", name="sales", columns=columns, rows=rows)


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
    latest = rows_of(database, f"select max_by(day, taken), min_by(amount, taken) from {SALES}")

    assert latest == [["2026-03-02", 1.5]]


def test_a_null_beside_an_extreme_is_refused_where_it_is_compared(database: GoogleSql) -> None:
    with pytest.raises(RefusedSql, match="min_by or max_by meets a NULL"):
        database.ask("script", sql=f"select min_by(item, taken) from {SALES}")

    nothing = "min_by(item, cast(null as timestamp))"
    assert rows_of(database, f"select {nothing} from {SALES}") == [[None]]


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
    columns = [["taken", "TIMESTAMP"], ["amount", "FLOAT64"]]
    first = [[FIRST_DAY, 1.0], [FIRST_DAY + DAY, 2.0]]
    database.ask("load", name="sales", columns=columns, rows=first, partition_by="taken")
    before = rows_of(database, listing)
    late = [*first, [FIRST_DAY + DAY, 3.0]]
    database.ask("load", name="sales", columns=columns, rows=late, partition_by="taken")
    after = rows_of(database, listing)

    assert [row[:2] for row in after] == [["20260301", 1], ["20260302", 2]]
    assert after[0] == before[0]
    assert after[1][2] > before[1][2]


def by_day(database: GoogleSql, name: str, options: str) -> None:
    """A table of the sales with a partition per day of `taken`."""
    database.ask(
        "script",
        sql=f"create or replace table `p`.`d`.`{name}` partition by timestamp_trunc(taken, day) "
        f"options({options}) as (select taken, item, amount, amount * 2 as twice from {SALES})",
    )


@pytest.mark.parametrize(
    ("condition", "is_accepted"),
    [
        ("taken >= timestamp_micros(0)", True),
        ("amount > 1 and (taken = timestamp '2026-03-01' or taken < timestamp '2020-01-01')", True),
        ("timestamp_trunc(taken, day) in (timestamp '2026-03-01')", True),
        ("amount > 1", False),
        ("taken >= timestamp_micros(0) or amount > 1", False),
        ("taken in (select max(taken) from `p`.`d`.`sales`)", False),
    ],
)
def test_a_table_that_wants_a_condition_on_its_partitions_gets_one(
    database: GoogleSql, condition: str, is_accepted: bool
) -> None:
    by_day(database, "large", "require_partition_filter=true")
    database.ask("script", sql="create or replace view `p`.`d`.`v` as select * from `large`")

    for relation in ("`p`.`d`.`large`", "`p`.`d`.`v`"):
        if is_accepted:
            rows_of(database, f"select amount from {relation} where {condition}")
        else:
            with pytest.raises(RefusedSql, match="without a filter over column"):
                rows_of(database, f"select amount from {relation} where {condition}")


LATE = f"taken >= timestamp_micros({FIRST_DAY + DAY})"
RANKED = f"select n from (select *, rank() over (order by twice) as n from `held`) where {LATE}"
UNITED = f"select item from (select * from `held` union all select * from `held`) where {LATE}"


@pytest.mark.parametrize(
    ("sql", "columns", "days"),
    [
        (f"select item from `held` where {LATE}", ["item", "taken"], [1]),
        ("select item from `held`", ["item"], [0, 1]),
        (
            f"with w as (select *, amount + 1 as s from `held`) select item from w where {LATE}",
            ["item", "taken"],
            [1],
        ),
        (f"select count(*) as n from `v` where {LATE}", ["taken"], [1]),
        (
            f"select b.item from `days` as a left join `held` as b on day = taken and {LATE}",
            ["item", "taken"],
            [1],
        ),
        (
            f"select a.item from `held` as a left join `days` as b on taken = day and {LATE}",
            ["item", "taken"],
            [0, 1],
        ),
        (
            RANKED,
            ["taken", "twice"],
            [0, 1],
        ),
        (
            UNITED,
            ["item", "taken"],
            [1],
        ),
        (
            f"delete from `held` where {LATE}",
            ["amount", "item", "taken", "twice"],
            [1],
        ),
    ],
)
def test_what_a_statement_reads_is_noted(
    database: GoogleSql, sql: str, columns: list[str], days: list[int]
) -> None:
    by_day(database, "held", "")
    database.ask("load", name="days", columns=[["day", "TIMESTAMP"]], rows=[])
    database.ask("script", sql="create or replace view `p`.`d`.`v` as select * from `p`.`d`.`held`")
    database.ask("watch", now_us=0)

    database.ask("script", sql=sql)

    reads = [read for read in database.ask("watched")["reads"] if read["table"] == "held"]
    assert {column for read in reads for column in read["columns"]} == set(columns)
    assert {day for read in reads for day in read["days"]} == {FIRST_DAY + n * DAY for n in days}


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


def test_a_table_function_is_called_with_arguments(database: GoogleSql) -> None:
    made = (
        "create or replace table function `p`.`d`.`{}`(since timestamp, items array<string>) as ("
    )
    database.ask(
        "script",
        sql=made.format("sold")
        + f"select item, amount from {SALES} where taken >= since and item in unnest(items))",
    )
    database.ask(
        "script",
        sql=made.format("earned")
        + "select sum(s.amount) as total from `p`.`d`.`sold`(since, items) as s)",
    )

    call = "select * from `p`.`d`.`{}`(timestamp '2026-03-01 01:00:00+00', ['a', 'b']) as s"
    assert rows_of(database, call.format("sold")) == [["b", 4.0]]
    assert rows_of(database, call.format("earned")) == [[4.0]]


def test_a_table_function_that_bigquery_refuses_is_refused(database: GoogleSql) -> None:
    made = "create or replace table function `p`.`d`.`bad`(since timestamp) as ({})"

    for query in (f"select price from {SALES}", f"select item from {SALES} where item > since"):
        with pytest.raises(RefusedSql, match="INVALID_ARGUMENT"):
            database.ask("script", sql=made.format(query))
