"""The ledger: reads lake, dead letter and ground truth, gives the balance of every meter.

Per meter, with distinct readings counted once:

    expected = stored + dead_lettered + lost

`expected` is what the ground truth says was generated. For a meter without one, it is the span of
`seq` seen (per epoch, a new one where `seq` falls while `event_ts` rises), so that a hole in `seq`
is a declared loss, and the refused readings outside of that span. Dead letters whose meter cannot
be read, and payloads refused whole, stand in the row `unattributed`. The ledger closes when no
meter has more than was expected of it and, with ground truth, when what is missing is what the
backhaul is known to have dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from ami_store.sql import text_literal
from ami_store.views import create_lake_views

UNATTRIBUTED: Final = "unattributed"


@dataclass(frozen=True)
class LedgerRow:
    """Balance of one meter (or of `unattributed`), all in readings.

    Attributes:
        meter_id: meter.
        expected: generated (with truth) or spanned by `seq`.
        stored: distinct readings stored.
        duplicates: further copies stored.
        dead_lettered: distinct refused readings of the meter that are not stored as well.
        lost: expected − stored − dead_lettered.
        declared_lost: dropped according to the truth; None without truth.
    """

    meter_id: str
    expected: int
    stored: int
    duplicates: int
    dead_lettered: int
    lost: int
    declared_lost: int | None


@dataclass(frozen=True)
class Ledger:
    """All rows and whether they balance.

    Attributes:
        rows: one per meter, `unattributed` last.
        problems: one sentence for everything that does not balance; empty when it closes.
    """

    rows: list[LedgerRow]
    problems: list[str]

    @property
    def total(self) -> LedgerRow:
        """Sums over all rows."""
        known = [row.declared_lost for row in self.rows if row.declared_lost is not None]
        return LedgerRow(
            "total",
            sum(row.expected for row in self.rows),
            sum(row.stored for row in self.rows),
            sum(row.duplicates for row in self.rows),
            sum(row.dead_lettered for row in self.rows),
            sum(row.lost for row in self.rows),
            sum(known) if known else None,
        )


_STORED: Final = """
    CREATE TEMP TABLE stored AS
    SELECT meter_id, seq, event_ts, count(*) AS copies
    FROM lake.raw_meter_readings
    GROUP BY ALL
"""
_SPANS: Final = """
    WITH ordered AS (
        SELECT
            meter_id,
            seq,
            sum(CASE WHEN seq < before THEN 1 ELSE 0 END)
                OVER (PARTITION BY meter_id ORDER BY event_ts, seq) AS epoch
        FROM (
            SELECT
                *,
                lag(seq) OVER (PARTITION BY meter_id ORDER BY event_ts, seq) AS before
            FROM stored
        )
    ),
    epochs AS (
        SELECT meter_id, epoch, min(seq) AS first_seq, max(seq) AS last_seq
        FROM ordered
        GROUP BY meter_id, epoch
    ),
    refused_outside AS (
        SELECT meter_id, count(*) AS readings
        FROM dead
        WHERE NOT EXISTS (
            SELECT 1 FROM epochs
            WHERE epochs.meter_id = dead.meter_id
            AND dead.seq BETWEEN epochs.first_seq AND epochs.last_seq
        )
        GROUP BY meter_id
    )
    SELECT
        meter_id,
        (sum(last_seq - first_seq + 1) + coalesce(any_value(refused_outside.readings), 0))::BIGINT
            AS expected,
        NULL::BIGINT AS declared_lost
    FROM epochs
    LEFT JOIN refused_outside USING (meter_id)
    GROUP BY meter_id
"""
_TRUTH: Final = """
    SELECT
        meter_id,
        sum(generated)::BIGINT AS expected,
        sum(dropped)::BIGINT AS declared_lost
    FROM read_csv(?, union_by_name = true, all_varchar = false)
    GROUP BY meter_id
"""


def _dead_letters(data: DataDir) -> str:
    pattern = data.deadletter / "segments" / "*" / "*" / "*.jsonl"
    if not any(data.deadletter.glob("segments/*/*/*.jsonl")):
        return "SELECT NULL::VARCHAR AS meter_id, NULL::BIGINT AS seq WHERE false"
    columns = "{dead_letter_id: 'VARCHAR', meter_id: 'VARCHAR', seq: 'BIGINT'}"
    return (
        "SELECT DISTINCT ON (dead_letter_id) meter_id, seq "
        f"FROM read_json({text_literal(pattern)}, format = 'newline_delimited', "
        f"columns = {columns})"
    )


def truth_files(truth: Path) -> list[str]:
    """`meters.csv` of every simulated run below `truth`.

    Raises:
        SettingsError: there is none.
    """
    found = sorted(str(path) for path in truth.rglob("meters.csv"))
    if not found:
        raise SettingsError(f"{truth}: no ground truth here (no run-*/meters.csv)")
    return found


def balance(data: DataDir, truth: Path | None = None) -> Ledger:
    """Balance of everything that ever came to `data`.

    Args:
        data: where lake and dead letter lie.
        truth: folder of the simulator's ground truth, where there is one.

    Raises:
        SettingsError: `truth` holds no ground truth.
    """
    with duckdb.connect() as con:
        create_lake_views(con, data)
        con.execute(_STORED)
        con.execute(f"CREATE TEMP TABLE dead AS {_dead_letters(data)}")
        con.execute(f"CREATE TEMP TABLE expected AS {_SPANS}")
        if truth:
            con.execute(f"CREATE TEMP TABLE truth AS {_TRUTH}", [truth_files(truth)])
            con.execute("DELETE FROM expected WHERE meter_id IN (SELECT meter_id FROM truth)")
            con.execute("INSERT INTO expected FROM truth")
        found = con.execute(
            """
            WITH kept AS (
                SELECT meter_id, count(*) AS stored, sum(copies - 1)::BIGINT AS duplicates
                FROM stored
                GROUP BY meter_id
            ),
            refused AS (
                SELECT dead.meter_id, count(*) AS dead_lettered
                FROM dead
                WHERE dead.meter_id IN (SELECT meter_id FROM kept UNION ALL FROM (
                    SELECT meter_id FROM expected
                ))
                AND NOT EXISTS (
                    SELECT 1 FROM stored
                    WHERE stored.meter_id = dead.meter_id AND stored.seq = dead.seq
                )
                GROUP BY dead.meter_id
            )
            SELECT
                meter_id,
                coalesce(expected.expected, 0),
                coalesce(kept.stored, 0),
                coalesce(kept.duplicates, 0),
                coalesce(refused.dead_lettered, 0),
                expected.declared_lost
            FROM expected
            FULL JOIN kept USING (meter_id)
            FULL JOIN refused USING (meter_id)
            ORDER BY meter_id
            """
        ).fetchall()
        loose = con.execute(
            """
            SELECT count(*) FROM dead
            WHERE meter_id IS NULL OR meter_id NOT IN (
                SELECT meter_id FROM stored UNION ALL SELECT meter_id FROM expected
            )
            """
        ).fetchone()
    assert loose is not None
    rows = [
        LedgerRow(meter, expected, stored, copies, dead, expected - stored - dead, declared)
        for meter, expected, stored, copies, dead, declared in found
    ]
    rows.append(LedgerRow(UNATTRIBUTED, 0, 0, 0, loose[0], -loose[0], None))
    return Ledger(rows, _problems(rows, with_truth=truth is not None))


def _problems(rows: list[LedgerRow], *, with_truth: bool) -> list[str]:
    """What does not balance. Unattributed dead letters may explain a meter's missing readings."""
    meters = [row for row in rows if row.meter_id != UNATTRIBUTED]
    loose = sum(row.dead_lettered for row in rows) - sum(row.dead_lettered for row in meters)
    problems = [
        f"{row.meter_id}: {-row.lost} more than the {row.expected} expected"
        for row in meters
        if row.lost < 0
    ]
    if not with_truth:
        return problems
    unexplained = {
        row.meter_id: row.lost - row.declared_lost
        for row in meters
        if row.declared_lost is not None and row.lost != row.declared_lost
    }
    known = all(row.declared_lost is not None for row in meters)
    missed = sum(unexplained.values())
    # Loose dead letters may also be of meters that the truth does not know.
    explained = missed == loose if known else missed <= loose
    if not explained or any(n < 0 for n in unexplained.values()):
        problems += [
            f"{meter}: {count} readings neither stored, dead-lettered nor declared lost"
            for meter, count in unexplained.items()
        ] or [f"{loose} unattributed dead letters that no meter misses"]
    return problems
