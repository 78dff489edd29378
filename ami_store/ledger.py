"""The ledger: reads lake, dead letter, registry and ground truth, gives the balance of every meter.

    expected = stored + dead_lettered + lost + not_sampled

docs/ledger.md holds the equations and says what is inside a window; the statements below follow
it from top to bottom.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb

from ami_contract.errors import LakeError, SettingsError
from ami_contract.lake import DataDir
from ami_store.sql import file_list, memory_connection, text_literal
from ami_store.views import create_lake_views, reading_lake_files

UNATTRIBUTED: Final = "unattributed"
EPOCH_MIN_JUMP_S: Final = 300
"""A falling `seq` with a larger clock jump starts an epoch, in seconds (see docs/ledger.md)."""
DEFAULT_INTERVAL_S: Final = 1
"""Sample interval where neither registry nor readings show it, in seconds."""

_FAR_US: Final = 4_000_000_000_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LedgerRow:
    """Balance of one meter (or of `unattributed`), all in readings.

    Attributes:
        meter_id: meter.
        expected: stored + dead_lettered + lost + not_sampled; with truth what was generated.
        stored: distinct readings stored.
        duplicates: further rows stored.
        dead_lettered: distinct refused readings of the meter that are not stored as well.
        lost: holes in `seq` (with truth: generated readings) that neither of the two fills.
        not_sampled: expected from the time in service, but not counted by `seq`.
        declared_lost: dropped according to the truth; None without truth.
    """

    meter_id: str
    expected: int
    stored: int
    duplicates: int
    dead_lettered: int
    lost: int
    not_sampled: int
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
            sum(row.not_sampled for row in self.rows),
            sum(known) if known else None,
        )


@dataclass(frozen=True)
class Window:
    """[start, end) of `event_ts`, UTC; None: open."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self.start is None and self.end is None

    def micros(self) -> tuple[int, int]:
        """Both ends in µs since 1970."""
        return (
            -_FAR_US if self.start is None else _micros(self.start),
            _FAR_US if self.end is None else _micros(self.end),
        )


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


# Moment at which a missing `seq` of a hole would have been taken.
_MOMENT: Final = "least(before_us + (seq - first_seq + 1)::HUGEINT * interval_us, after_us)::BIGINT"


def _missing_before(limit: str) -> str:
    """How many of a hole's samples have their moment before `limit` (µs)."""
    return (
        f"CASE WHEN after_us < {limit} THEN missing WHEN before_us >= {limit} THEN 0 "
        f"ELSE least(missing, ({limit} - before_us - 1) // interval_us) END"
    )


_ARRIVED: Final = """
    CREATE TEMP TABLE arrived AS
    SELECT
        meter_id,
        seq,
        epoch_us(event_ts) AS us,
        count(*) AS copies,
        coalesce(bool_or(list_contains(quality_flags, 'clock_reset')), false) AS is_reset
    FROM lake.raw_meter_readings
    GROUP BY meter_id, seq, event_ts
"""
_TRUTH_EPOCHS: Final = """
    CREATE TEMP TABLE truth_epochs AS
    SELECT
        meter_id,
        -row_number() OVER (ORDER BY filename, meter_id, epoch::BIGINT) AS epoch,
        parse_dirpath(filename) AS run,
        epoch::BIGINT AS epoch_of_run,
        first_seq::BIGINT AS first_seq,
        last_seq::BIGINT AS last_seq,
        epoch_us(first_event_ts::TIMESTAMPTZ) AS first_us,
        epoch_us(last_event_ts::TIMESTAMPTZ) AS last_us,
    FROM {source}
"""
_TRUTH_DROPPED: Final = """
    CREATE TEMP TABLE declared AS
    SELECT truth.meter_id, truth.epoch, fault.seq::BIGINT AS seq,
        epoch_us(fault.event_ts::TIMESTAMPTZ) AS us
    FROM {faults} AS fault
    INNER JOIN truth_epochs AS truth
        ON parse_dirpath(fault.filename) = truth.run
        AND fault.meter_id = truth.meter_id
        AND fault.epoch::BIGINT = truth.epoch_of_run
    WHERE fault.fault = 'dropped'
    UNION
    SELECT truth.meter_id, truth.epoch, over.seq::BIGINT,
        epoch_us(over.event_ts::TIMESTAMPTZ)
    FROM {overflow} AS over
    INNER JOIN truth_epochs AS truth
        ON parse_dirpath(over.filename) = truth.run
        AND over.meter_id = truth.meter_id
        AND over.seq::BIGINT BETWEEN truth.first_seq AND truth.last_seq
        AND epoch_us(over.event_ts::TIMESTAMPTZ) BETWEEN truth.first_us AND truth.last_us
"""
_INTERVALS: Final = f"""
    CREATE TEMP TABLE intervals AS
    WITH registered AS (
        SELECT meter_id, arg_max(sample_interval_ms, valid_from) * 1000 AS interval_us
        FROM lake.meters
        WHERE sample_interval_ms IS NOT NULL
        GROUP BY meter_id
    ),
    steps AS (
        SELECT
            meter_id,
            us - lag(us) OVER in_order AS step_us,
            seq - lag(seq) OVER in_order AS seq_step
        FROM arrived
        ANTI JOIN registered USING (meter_id)
        WINDOW in_order AS (PARTITION BY meter_id ORDER BY us, seq)
    ),
    measured AS (
        SELECT meter_id, greatest(1, round(median(step_us) / 1000))::BIGINT * 1000 AS interval_us
        FROM steps
        WHERE seq_step = 1 AND step_us > 0
        GROUP BY meter_id
    ),
    meters AS (
        SELECT meter_id FROM arrived
        UNION SELECT meter_id FROM lake.meters
        UNION SELECT meter_id FROM truth_epochs
    )
    SELECT
        meter_id,
        coalesce(
            registered.interval_us, measured.interval_us, {DEFAULT_INTERVAL_S * 1_000_000}
        ) AS interval_us
    FROM meters
    LEFT JOIN registered USING (meter_id)
    LEFT JOIN measured USING (meter_id)
"""
# One row per (meter, epoch, seq). Epochs of the truth are negative, those found in the readings
# count from 0; a reading that the truth does not hold has none.
_KEPT: Final = f"""
    CREATE TEMP TABLE kept AS
    WITH of_truth AS (
        SELECT arrived.*, min(truth.epoch) AS epoch
        FROM arrived
        LEFT JOIN truth_epochs AS truth
            ON arrived.meter_id = truth.meter_id
            AND arrived.seq BETWEEN truth.first_seq AND truth.last_seq
            AND arrived.us BETWEEN truth.first_us AND truth.last_us
        WHERE arrived.meter_id IN (SELECT meter_id FROM truth_epochs)
        GROUP BY ALL
    ),
    steps AS (
        SELECT
            arrived.*,
            seq - lag(seq) OVER in_order AS seq_step,
            us - lag(us) OVER in_order AS us_step,
            interval_us
        FROM arrived
        INNER JOIN intervals USING (meter_id)
        WHERE meter_id NOT IN (SELECT meter_id FROM truth_epochs)
        WINDOW in_order AS (PARTITION BY meter_id ORDER BY us, seq)
    ),
    numbered AS (
        SELECT
            *,
            sum(
                CASE
                    WHEN is_reset THEN 1
                    WHEN
                        seq_step < 0
                        AND us_step - seq_step::HUGEINT * interval_us
                        > greatest({EPOCH_MIN_JUMP_S * 1_000_000}, 2 * interval_us)
                        THEN 1
                    ELSE 0
                END
            ) OVER (PARTITION BY meter_id ORDER BY us, seq)::BIGINT AS epoch
        FROM steps
    ),
    placed AS (
        SELECT meter_id, epoch, seq, us, copies FROM of_truth
        UNION ALL SELECT meter_id, epoch, seq, us, copies FROM numbered
    )
    SELECT meter_id, epoch, seq, min(us) AS us, sum(copies)::BIGINT AS copies,
        count(*) AS moments
    FROM placed
    GROUP BY meter_id, epoch, seq
"""
# `missing` samples from `first_seq` on, between a point before and one after. What the truth says
# about a missing sample is a hole of its own, with its exact moment.
_HOLES: Final = """
    CREATE TEMP TABLE holes AS
    WITH told AS (
        SELECT meter_id, epoch, seq, us, true AS is_declared FROM declared
        UNION ALL SELECT meter_id, epoch, first_seq, first_us, false FROM truth_epochs
        UNION ALL SELECT meter_id, epoch, last_seq, last_us, false FROM truth_epochs
    ),
    absent AS (
        SELECT meter_id, epoch, seq, min(us) AS us, bool_or(is_declared) AS is_declared
        FROM told
        ANTI JOIN kept USING (meter_id, epoch, seq)
        GROUP BY meter_id, epoch, seq
    ),
    points AS (
        SELECT meter_id, epoch, seq, us FROM kept WHERE epoch IS NOT NULL
        UNION ALL SELECT meter_id, epoch, seq, us FROM absent
    ),
    neighbours AS (
        SELECT
            *,
            lag(seq) OVER in_order AS before_seq,
            lag(us) OVER in_order AS before_us
        FROM points
        WINDOW in_order AS (PARTITION BY meter_id, epoch ORDER BY seq)
    ),
    found AS (
        SELECT meter_id, epoch, before_seq + 1 AS first_seq, seq - before_seq - 1 AS missing,
            before_us, us AS after_us, false AS is_declared
        FROM neighbours
        WHERE seq - before_seq > 1
        UNION ALL
        SELECT meter_id, epoch, seq, 1, us - interval_us, us, is_declared
        FROM absent
        INNER JOIN intervals USING (meter_id)
    )
    SELECT found.*, interval_us FROM found INNER JOIN intervals USING (meter_id)
"""
_LETTERS: Final = """
    CREATE TEMP TABLE letters AS
    WITH single AS (
        SELECT DISTINCT ON (dead_letter_id)
            dead_letter_id,
            coalesce(readings, 1) AS readings,
            CASE WHEN meter_id IN (SELECT meter_id FROM intervals) THEN meter_id END AS meter_id,
            seq,
            epoch_us(publish_time) AS publish_us,
            CASE
                WHEN field IS DISTINCT FROM 'event_ts' AND json_valid(payload)
                    THEN epoch_us(try_cast(payload ->> '$.event_ts' AS TIMESTAMPTZ))
            END AS event_us
        FROM {source}
        WHERE dead_letter_id NOT IN (SELECT unnest($replayed::VARCHAR[]))
    )
    -- A letter that stands for several readings counts as so many.
    SELECT
        dead_letter_id || CASE WHEN part > 0 THEN '+' || part ELSE '' END AS dead_letter_id,
        meter_id,
        seq,
        publish_us,
        event_us
    FROM single, unnest(range(readings)) AS parts (part)
"""
_LETTER_COLUMNS: Final = (
    "{dead_letter_id: 'VARCHAR', meter_id: 'VARCHAR', seq: 'BIGINT', "
    "readings: 'BIGINT', field: 'VARCHAR', "
    "publish_time: 'TIMESTAMPTZ', payload: 'VARCHAR'}"
)
_NO_LETTERS: Final = (
    "(SELECT NULL::VARCHAR AS dead_letter_id, NULL::VARCHAR AS meter_id, NULL::BIGINT AS seq, "
    "NULL::BIGINT AS readings, NULL::VARCHAR AS field, NULL::TIMESTAMPTZ AS publish_time, "
    "NULL::VARCHAR AS payload "
    "WHERE false)"
)
# Every letter that is not a copy of a stored reading, once per reading, with the moment it counts
# at: that of its hole, else the one it names, else none.
_REFUSED: Final = f"""
    CREATE TEMP TABLE refused AS
    WITH places AS (
        SELECT dead_letter_id, kept.epoch, kept.us, true AS is_stored, false AS is_declared
        FROM letters
        INNER JOIN kept USING (meter_id, seq)
        UNION ALL
        SELECT dead_letter_id, epoch, {_MOMENT}, false, is_declared
        FROM letters
        INNER JOIN holes
            ON letters.meter_id = holes.meter_id
            AND seq - first_seq BETWEEN 0 AND missing - 1
    ),
    placed AS (
        SELECT
            letters.*,
            places.epoch,
            places.us,
            places.us IS NOT NULL AS is_in_hole,
            coalesce(is_stored, false) AS is_stored,
            coalesce(is_declared, false) AS is_declared
        FROM letters
        LEFT JOIN places USING (dead_letter_id)
        QUALIFY row_number() OVER (
            PARTITION BY dead_letter_id
            ORDER BY abs(us - coalesce(event_us, publish_us, us)), is_stored DESC, epoch
        ) = 1
    )
    SELECT meter_id, seq, publish_us, is_in_hole, is_declared, coalesce(us, event_us) AS us
    FROM placed
    WHERE NOT is_stored
    QUALIFY meter_id IS NULL OR seq IS NULL OR row_number() OVER (
        PARTITION BY meter_id, epoch, seq
        ORDER BY coalesce(us, event_us), dead_letter_id
    ) = 1
"""
_IN_WINDOW: Final = "us >= getvariable('from_us') AND us < getvariable('to_us')"
_IS_LOOSE: Final = "meter_id IS NULL OR (us IS NULL AND NOT getvariable('is_whole'))"
_ROWS: Final = f"""
    WITH stored AS (
        SELECT
            meter_id,
            count(*) AS stored,
            count_if(epoch IS NULL) AS not_generated,
            sum(copies - 1)::BIGINT AS duplicates,
            sum(moments - 1)::BIGINT AS conflicts
        FROM kept
        WHERE {_IN_WINDOW}
        GROUP BY meter_id
    ),
    missing_parts AS (
        SELECT
            meter_id,
            is_declared,
            {_missing_before("getvariable('to_us')")}
            - {_missing_before("getvariable('from_us')")} AS missing
        FROM holes
    ),
    missing AS (
        SELECT
            meter_id,
            sum(missing) AS missing,
            coalesce(sum(missing) FILTER (is_declared), 0) AS declared
        FROM missing_parts
        GROUP BY meter_id
    ),
    dead AS (
        SELECT
            meter_id,
            count(*) AS dead_lettered,
            count_if(is_in_hole) AS in_holes,
            count_if(is_declared) AS in_declared,
            count_if(NOT is_in_hole AND seq IS NULL) AS without_seq
        FROM refused
        WHERE NOT ({_IS_LOOSE}) AND (us IS NULL OR {_IN_WINDOW})
        GROUP BY meter_id
    ),
    lake_range AS (
        SELECT
            max(us) AS watermark_us,
            min(us) // 3600000000 * 3600000000 AS oldest_hour_us
        FROM arrived
    ),
    seen AS (
        SELECT meter_id, min(us) AS first_us, max(us) AS last_us FROM arrived GROUP BY meter_id
    ),
    periods AS (
        SELECT
            meter_id,
            epoch_us(valid_from) AS from_us,
            least(
                coalesce(epoch_us(max(valid_to)), {_FAR_US}),
                coalesce(
                    epoch_us(lead(valid_from) OVER (PARTITION BY meter_id ORDER BY valid_from)),
                    {_FAR_US}
                )
            ) AS to_us
        FROM (
            SELECT meter_id, valid_from, coalesce(valid_to, 'infinity') AS valid_to
            FROM lake.meters
        )
        GROUP BY meter_id, valid_from
        UNION ALL
        SELECT meter_id, first_us, {_FAR_US}
        FROM seen
        ANTI JOIN lake.meters USING (meter_id)
    ),
    service AS (
        SELECT
            meter_id,
            sum(
                greatest(
                    0,
                    least(
                        periods.to_us,
                        getvariable('to_us'),
                        greatest(watermark_us, coalesce(seen.last_us + interval_us, watermark_us))
                    )
                    - greatest(
                        periods.from_us,
                        CASE
                            WHEN getvariable('from_us') = -{_FAR_US} THEN oldest_hour_us
                            ELSE getvariable('from_us')
                        END
                    )
                )
            ) AS service_us
        FROM periods
        CROSS JOIN lake_range
        INNER JOIN intervals USING (meter_id)
        LEFT JOIN seen USING (meter_id)
        WHERE watermark_us IS NOT NULL
        GROUP BY meter_id
    ),
    joined AS (
        SELECT
            meter_id,
            meter_id IN (SELECT meter_id FROM truth_epochs) AS has_truth,
            coalesce(stored, 0) AS stored,
            coalesce(not_generated, 0) AS not_generated,
            coalesce(duplicates, 0) AS duplicates,
            coalesce(conflicts, 0) AS conflicts,
            coalesce(missing, 0) AS missing,
            coalesce(declared, 0) - coalesce(in_declared, 0) AS declared,
            coalesce(dead_lettered, 0) AS dead_lettered,
            coalesce(in_holes, 0) + coalesce(without_seq, 0) AS fills_holes,
            round(coalesce(service_us, 0) / interval_us)::BIGINT AS by_service
        FROM intervals
        LEFT JOIN stored USING (meter_id)
        LEFT JOIN missing USING (meter_id)
        LEFT JOIN dead USING (meter_id)
        LEFT JOIN service USING (meter_id)
    ),
    balanced AS (
        SELECT
            *,
            CASE
                WHEN has_truth THEN missing - not_generated - dead_lettered
                ELSE greatest(0, missing - fills_holes)
            END AS lost
        FROM joined
    )
    SELECT
        meter_id,
        stored + dead_lettered + lost AS seen,
        stored,
        duplicates,
        dead_lettered,
        lost,
        CASE
            WHEN has_truth THEN 0 ELSE greatest(0, by_service - stored - dead_lettered - lost)
        END AS not_sampled,
        CASE WHEN has_truth THEN declared END AS declared_lost,
        CASE WHEN has_truth THEN conflicts ELSE 0 END AS conflicts
    FROM balanced
    WHERE stored + missing + dead_lettered > 0 OR by_service > 0 AND NOT has_truth
        OR has_truth AND getvariable('is_whole')
    ORDER BY meter_id
"""
_LOOSE: Final = f"""
    SELECT count(*) FROM refused
    WHERE ({_IS_LOOSE}) AND CASE
        WHEN us IS NULL
            THEN coalesce(publish_us, {_FAR_US}) >= getvariable('from_us')
        ELSE {_IN_WINDOW}
    END
"""


def truth_files(truth: Path, name: str = "meters.csv") -> list[Path]:
    """Files `name` of every simulated run below `truth`; empty when there is none.

    Hidden folders are those of runs being written, or left behind by a killed writer.
    """
    return sorted(
        path
        for path in truth.rglob(name)
        if not any(part.startswith(".") for part in path.relative_to(truth).parts)
    )


def replayed_letters(data: DataDir) -> list[str]:
    """Ids of the dead letters that were sent again.

    Raises:
        LakeError: a file of them is damaged.
    """
    ids: list[str] = []
    for path in sorted(data.deadletter_replayed.glob("[!.]*.json")):
        try:
            ids += [str(identity) for identity in json.loads(path.read_bytes())["ids"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{path} is damaged ({error!r}); it lists replayed dead letters as "
                '{"ids": [...]}: restore it, or remove it to count them as dead-lettered again'
            ) from error
    return ids


def balance(data: DataDir, truth: Path | None = None, window: Window | None = None) -> Ledger:
    """Balance of what came to `data` in `window`.

    Args:
        data: where lake, dead letter and registry lie.
        truth: folder of the simulator's ground truth, where there is one.
        window: of `event_ts`; None: everything.

    Raises:
        SettingsError: `truth` holds no ground truth, or none that can be read; the window is empty.
        LakeError: a file of the lake is damaged; names it.
    """
    window = window or Window()
    from_us, to_us = window.micros()
    if from_us >= to_us:
        raise SettingsError(f"--from {window.start} is not before --to {window.end}")
    with memory_connection() as con, reading_lake_files(data):
        create_lake_views(con, data)
        con.execute(f"SET VARIABLE from_us = {from_us}::BIGINT")
        con.execute(f"SET VARIABLE to_us = {to_us}::BIGINT")
        con.execute(f"SET VARIABLE is_whole = {window.is_whole}")
        con.execute(_ARRIVED)
        unreadable_overflow = _read_truth(con, truth)
        con.execute(_INTERVALS)
        con.execute(_KEPT)
        con.execute(_HOLES)
        _read_letters(con, data)
        con.execute(_REFUSED)
        found = con.execute(_ROWS).fetchall()
        loose = con.execute(_LOOSE).fetchone()
    assert loose is not None
    rows = [
        LedgerRow(meter, seen + not_sampled, stored, copies, dead, lost, not_sampled, declared)
        for meter, seen, stored, copies, dead, lost, not_sampled, declared, _ in found
    ]
    conflicts = {row[0]: row[-1] for row in found if row[-1]}
    rows.append(LedgerRow(UNATTRIBUTED, 0, 0, 0, loose[0], -loose[0], 0, None))
    is_exact = window.is_whole and not unreadable_overflow
    return Ledger(
        rows,
        [
            *(
                f"{meter}: {count} stored readings repeat a seq with another event_ts"
                for meter, count in conflicts.items()
            ),
            *_problems(
                rows,
                with_truth=truth is not None,
                is_exact=is_exact,
                may_explain=loose[0] + unreadable_overflow,
            ),
        ],
    )


def _read_truth(con: duckdb.DuckDBPyConnection, truth: Path | None) -> int:
    """Make `truth_epochs` and `declared`; gives how many overflowed readings name no meter."""
    nothing = "(SELECT {} WHERE false)"
    meters = "meter_id epoch first_seq last_seq first_event_ts last_event_ts"
    faults = "meter_id seq event_ts fault epoch"
    overflow = "meter_id seq event_ts"

    def source(name: str, columns: str) -> str:
        files = truth_files(truth, name) if truth else []
        if not files:
            fields = ", ".join(f"NULL::VARCHAR AS {c}" for c in [*columns.split(), "filename"])
            return nothing.format(fields)
        return (
            f"read_csv({file_list(files)}, header = true, all_varchar = true, filename = true, "
            "union_by_name = true)"
        )

    if truth and not truth_files(truth):
        raise SettingsError(f"{truth}: no ground truth here (no run-*/meters.csv)")
    try:
        con.execute(_TRUTH_EPOCHS.format(source=source("meters.csv", meters)))
        con.execute(
            _TRUTH_DROPPED.format(
                faults=source("faults.csv", faults), overflow=source("overflow.csv", overflow)
            )
        )
        nameless = con.execute(
            f"SELECT count(*) FROM {source('overflow.csv', overflow)} "
            "WHERE meter_id IS NULL OR seq IS NULL OR event_ts IS NULL"
        ).fetchone()
    except duckdb.Error as error:
        raise SettingsError(f"{truth}: the ground truth cannot be read: {error}") from error
    assert nameless is not None
    return int(nameless[0])


def _read_letters(con: duckdb.DuckDBPyConnection, data: DataDir) -> None:
    pattern = data.deadletter / "segments" / "*" / "*" / "[!.]*.jsonl"
    source = _NO_LETTERS
    if any(data.deadletter.glob("segments/*/*/[!.]*.jsonl")):
        source = (
            f"read_json({text_literal(pattern)}, format = 'newline_delimited', "
            f"columns = {_LETTER_COLUMNS})"
        )
    try:
        con.execute(_LETTERS.format(source=source), {"replayed": replayed_letters(data)})
    except duckdb.Error as error:
        raise LakeError(
            f"a dead letter below {data.deadletter / 'segments'} cannot be read: {error}; mend the "
            "line or move the file away"
        ) from error


def _problems(
    rows: list[LedgerRow], *, with_truth: bool, is_exact: bool, may_explain: int
) -> list[str]:
    """What does not balance.

    `may_explain` readings beyond the declared ones may be missing; exactly as many must be where
    the ledger `is_exact` and the truth knows every meter.
    """
    meters = [row for row in rows if row.meter_id != UNATTRIBUTED]
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
    missed = sum(unexplained.values())
    must_match = is_exact and all(row.declared_lost is not None for row in meters)
    explained = missed == may_explain if must_match else missed <= may_explain
    if not explained or any(count < 0 for count in unexplained.values()):
        problems += [
            f"{meter}: {count} readings neither stored, dead-lettered nor declared lost"
            for meter, count in unexplained.items()
        ] or [f"{may_explain} unattributed dead letters that no meter misses"]
    return problems
