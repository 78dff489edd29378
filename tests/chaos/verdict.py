"""Reads the data folders of a disturbed and an undisturbed run; gives what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Final

import duckdb

from ami_contract.lake import DataDir
from ami_store.files import write_bytes
from ami_store.ledger import UNATTRIBUTED, balance
from ami_store.sql import text_literal

READINGS: Final = "readings"
KEYS: Final = {
    READINGS: "meter_id, epoch, seq",
    "voltage_events": "event_id",
    "pole_events": "pole_event_id",
    "feeder_events": "feeder_event_id",
    "rms_variation_events": "event_id",
    "outages": "outage_id",
    "minute_agg_pole": "pole_id, minute_ts",
    "pole_health_hourly": "pole_id, hour_ts",
    "pole_health_daily": "pole_id, day_ts",
    "meter_data_quality_hourly": "meter_id, pole_id, hour_ts",
    "v_5min_pole": "pole_id, slot_ts",
}
"""Tables that are compared, with what must be unique in each."""

_ARRIVAL: Final = (
    *("batch_id", "late", "stored_rows", "duplicates", "conflicting_copies", "copies", "conflicts"),
    *("ingest_ts", "gateway_ingest_ts", "superseded_by"),
)
_ARRIVAL_WORD: Final = "latency"
"""Columns that tell of the way a reading took, not of the reading."""

_DIGITS: Final = 9


@dataclass
class Verdict:
    """What became of the readings.

    Attributes:
        expected: readings of the undisturbed run.
        lost: of these, not in the disturbed run's readings.
        strange: readings of the disturbed run that the other does not have.
        duplicated: rows of a mart beyond one per key, summed over all marts.
        differing: rows by which each mart differs; only those that do.
        rows: rows of each mart.
        copies: stored copies that compaction took out.
        letters: dead letters of poison.
        problems: one sentence for everything else that is wrong.
    """

    expected: int = 0
    lost: int = 0
    strange: int = 0
    duplicated: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    copies: int = 0
    letters: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is lost, doubled or different."""
        wrong = self.lost or self.strange or self.duplicated or self.differing or self.problems
        return not wrong and self.expected > 0


def compare_marts(calm: DataDir, shaken: DataDir, found: Verdict) -> None:
    """Fill in what the published warehouses of both say."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, data in (("calm", calm), ("shaken", shaken)):
            copied = [
                f"CREATE TABLE {name}.{table} AS SELECT * FROM warehouse.{table}" for table in KEYS
            ]
            con.execute(f"ATTACH ':memory:' AS {name}")
            con.execute(f"ATTACH {text_literal(data.published_warehouse)} AS warehouse (READ_ONLY)")
            for statement in copied:
                con.execute(statement)
            con.execute("DETACH warehouse")
        for table, key in KEYS.items():
            columns = ", ".join(_compared(con, table))
            rows, distinct = _row(
                con, f"SELECT count(*), count(DISTINCT ({key})) FROM shaken.{table}"
            )
            missing = _missing(con, columns, "calm", "shaken", table)
            added = _missing(con, columns, "shaken", "calm", table)
            found.rows[table] = rows
            found.duplicated += rows - distinct
            if table == READINGS:
                [found.expected] = _row(con, f"SELECT count(*) FROM calm.{table}")
                found.lost, found.strange = missing, added
            elif missing or added:
                found.differing[table] = max(missing, added)


def _compared(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    found = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = 'calm' AND table_name = ? ORDER BY column_index",
        [table],
    ).fetchall()
    return [
        # Sums of the same values in another order.
        f"round({name}, {_DIGITS}) AS {name}" if kind == "DOUBLE" else name
        for name, kind in found
        if name not in _ARRIVAL and _ARRIVAL_WORD not in name
    ]


def _missing(con: duckdb.DuckDBPyConnection, columns: str, of: str, in_: str, table: str) -> int:
    [number] = _row(
        con,
        f"SELECT count(*) FROM (SELECT {columns} FROM {of}.{table} "
        f"EXCEPT ALL SELECT {columns} FROM {in_}.{table})",
    )
    return number


def _row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row


def close_ledger(
    shaken: DataDir,
    calm: DataDir,
    letters: Mapping[str, Set[str]],
    poisoned: Set[str],
    found: Verdict,
) -> None:
    """Fill in what the ledgers say, and whether each poison has become a dead letter.

    Letters of poison are put away as an operator does it, by naming them as replayed: no meter of
    the truth has sent them.
    """
    strangers = sorted(letters.keys() - poisoned)
    if strangers:
        found.problems.append(f"dead letters of good messages: {', '.join(strangers[:5])}")
    if absent := poisoned - letters.keys():
        found.problems.append(f"{len(absent)} poisoned messages are nowhere: {sorted(absent)[:5]}")
    ids = sorted(one for name in poisoned for one in letters.get(name, ()))
    found.letters = len(ids)
    write_bytes(shaken.deadletter_replayed / "poison.json", json.dumps({"ids": ids}).encode())
    with_truth = balance(shaken, shaken.truth), balance(calm, calm.truth)
    rows = [
        {row.meter_id: (row.expected, row.stored, row.lost, row.declared_lost) for row in one.rows}
        for one in with_truth
    ]
    found.copies = with_truth[0].total.duplicates
    found.problems += with_truth[0].problems
    for meter_id in sorted((rows[0].keys() | rows[1].keys()) - {UNATTRIBUTED}):
        shaken_row, calm_row = (one.get(meter_id) for one in rows)
        if shaken_row != calm_row:
            found.problems.append(f"ledger of {meter_id}: {shaken_row}, undisturbed {calm_row}")
