"""Refused readings: reads the dead letter's segments, gives counts by reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import duckdb

from ami_contract.errors import LakeError
from ami_contract.lake import HOUR, DataDir, floor_hour, hour_folder
from ami_store.ledger import replayed_letters
from ami_store.sql import memory_connection

# Counts of what arrived in [start, end), by code and field, most readings first; each with `code`,
# `field`, `letters`, `readings`, `first_ts` and `last_ts`.
RefusalCounts = Callable[[datetime, datetime], list[dict[str, Any]]]

_COUNTED: Final = """
    WITH letters AS (
        SELECT DISTINCT ON (dead_letter_id)
            code, field, coalesce(readings, 1) AS readings, ingest_ts
        FROM read_json($files, format = 'newline_delimited', columns = {
            dead_letter_id: 'VARCHAR', code: 'VARCHAR', field: 'VARCHAR', readings: 'BIGINT',
            ingest_ts: 'TIMESTAMPTZ'
        })
        WHERE
            ingest_ts >= $start AND ingest_ts < $end
            AND dead_letter_id NOT IN (SELECT unnest($replayed::VARCHAR[]))
    )
    SELECT
        code,
        field,
        count(*)::BIGINT AS letters,
        sum(readings)::BIGINT AS readings,
        min(ingest_ts) AS first_ts,
        max(ingest_ts) AS last_ts
    FROM letters
    GROUP BY code, field
    ORDER BY readings DESC, code, field
"""


def refusal_counts(data: DataDir) -> RefusalCounts:
    """Counts of the dead letters of a lake that no replay has stored since."""

    def counts(start: datetime, end: datetime) -> list[dict[str, Any]]:
        unfinished = {
            path.stem
            for path in data.deadletter_replaying.glob("[!.]*.json")
            if not (data.deadletter_replayed / path.name).exists()
        }
        files = []
        hour = floor_hour(start)
        while hour < end:
            folder = data.deadletter / "segments" / hour_folder(hour)
            files += [
                str(path)
                for path in sorted(folder.glob("[!.]*.jsonl"))
                if path.stem not in unfinished
            ]
            hour += HOUR
        if not files:
            return []
        values = {"files": files, "start": start, "end": end, "replayed": replayed_letters(data)}
        try:
            with memory_connection() as con:
                found = con.execute(_COUNTED, values)
                names = [column[0] for column in found.description or []]
                return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            said = str(error).partition("\n")[0]
            raise LakeError(
                f"{data.deadletter} cannot be read ({said}); mend the line or move the file away"
            ) from error

    return counts
