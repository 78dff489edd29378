"""The data-quality report: reads the published warehouse and the dead letters, gives Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir
from ami_dagster.partitions import DAY
from ami_store.warehouse import query

_FLEET: Final = """
    SELECT
        count(DISTINCT meter_id), sum(expected), sum(received), sum(missing), sum(lost),
        sum(not_sampled), sum(late), sum(duplicates), sum(conflicts)
    FROM meter_data_quality_hourly WHERE hour_ts >= ? AND hour_ts < ? AND is_in_service
"""
_METERS: Final = """
    SELECT
        meter_id, pole_id, sum(expected), sum(received), sum(missing),
        sum(missing) / nullif(sum(expected), 0), max(latency_p95_s)
    FROM meter_data_quality_hourly WHERE hour_ts >= ? AND hour_ts < ? AND is_in_service
    GROUP BY ALL HAVING sum(missing) > 0 ORDER BY sum(missing) DESC, meter_id LIMIT 10
"""
_SILENCES: Final = """
    SELECT meter_id, pole_id, start_ts, end_ts, duration_s, ended_by
    FROM comm_losses WHERE start_ts < ? AND until_ts > ?
    ORDER BY duration_s DESC, meter_id LIMIT 10
"""


def quality_report(data: DataDir, day: datetime) -> str:
    """Markdown about the UTC day that starts at `day`.

    Raises:
        WarehouseError: nothing is published yet.
    """
    span = [day, day + DAY]
    [fleet] = query(data, _FLEET, span).rows
    meters, expected, received, missing, lost, not_sampled, late, duplicates, conflicts = fleet
    title = f"# Data quality of {day:%Y-%m-%d} (UTC)\n"
    if not meters:
        return f"{title}\nNo meter was in service.\n"
    parts = [
        title,
        _table(
            ["", "readings", "of expected"],
            [
                [name, f"{count:,}", _share(count, expected)]
                for name, count in (
                    ("expected", expected),
                    ("received", received),
                    ("missing", missing),
                    ("… lost on the way (a hole in seq)", lost),
                    ("… not sampled (the meter was off)", not_sampled),
                    ("late", late),
                    ("duplicates taken out", duplicates),
                    ("conflicting copies of a seq", conflicts),
                )
            ],
        ),
        f"{meters:,} meters in service.\n",
        "## Meters with most missing readings\n",
        _table(
            ["meter", "pole", "expected", "received", "missing", "share", "95 % came within"],
            [
                [m, p, f"{e:,}", f"{r:,}", f"{lack:,}", f"{share:.2%}", _seconds(latency)]
                for m, p, e, r, lack, share, latency in query(data, _METERS, span).rows
            ],
        ),
        "## Longest silences\n",
        _table(
            ["meter", "pole", "from (UTC)", "to (UTC)", "duration", "ended by"],
            [
                [m, p, _clock(start), _clock(end), _seconds(duration), by or "still silent"]
                for m, p, start, end, duration, by in query(data, _SILENCES, span[::-1]).rows
            ],
        ),
        "## Dead letters that arrived\n",
        _table(
            ["reason", "letters"],
            [[code, f"{count:,}"] for code, count in letters_by_code(data, day).most_common()],
        ),
    ]
    return "\n".join(parts)


def letters_by_code(data: DataDir, day: datetime) -> Counter[str]:
    """Dead letters that arrived on the UTC day, by rejection code; raises LakeError."""
    codes: Counter[str] = Counter()
    for path in sorted((data.deadletter / "segments" / f"dt={day:%Y-%m-%d}").rglob("[!.]*.jsonl")):
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    codes[str(json.loads(line)["code"])] += 1
                except (ValueError, KeyError, TypeError) as error:
                    raise LakeError(
                        f"{path}: line {number} is damaged ({error!r}); mend the line or move the "
                        "file away"
                    ) from error
    return codes


def _share(count: int, expected: int) -> str:
    return f"{count / expected:.3%}" if expected else "–"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} s"


def _clock(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return "None.\n"
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body]
    return "\n".join(lines) + "\n"
