"""Bytes that BigQuery scans in a 5-minute tick: takes what its statements read, gives a table.

The columns and partitions come from the statements themselves. What one column of a row weighs is
BigQuery's logical size of its type; how many rows a day has is worked out for the fleet named here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

METERS, POLES = 1000, 50
# Rows of a full day, of meters that measure every second.
READINGS = METERS * 86_400
ROWS_PER_DAY = {
    "raw_meter_readings": READINGS,
    "stg_readings": READINGS,
    "int_meter_minutes": METERS * 1440,
    "int_meter_5min": METERS * 288,
    "int_voltage_10min": METERS * 144,
    "minute_agg_pole": POLES * 1440,
    "int_pole_latency_hourly": POLES * 24,
    "int_sarfi_observation": POLES * 24,
    "pole_health_hourly": POLES * 24,
    "int_meter_days": METERS,
    "voltage_quality_daily": METERS,
    **dict.fromkeys(
        (
            "int_meter_arrivals_hourly",
            "int_meter_hour_anchors",
            "int_meter_hour_borders",
            "int_meter_hour_edges",
            "int_meter_hour_parts",
            "int_meter_hours",
            "int_meter_latency_hourly",
        ),
        METERS * 24,
    ),
}
# Everything else: low and outlying readings, events, silences. An assumption: ten low readings per
# meter and day, and no other table longer than theirs.
RARE = METERS * 10
# Tables with a row per meter and 5 minutes or more; of these a tick reads the open day alone.
LARGE = ("raw_meter_readings", "stg_readings", "int_meter_minutes", "int_meter_5min")
# Exceptions, which read the day before as well: a reading may cover minutes of the next day, and a
# low reading asks for those beside it.
REACH_BACK_TO = {"int_meter_minutes"}
REACH_BACK = {"int_low_probed", "int_variation_neighbours"}
# One row per meter, period of service or restated day, however many days there are.
WHOLE = re.compile(
    r"meters|dim_\w+|int_meter_(intervals|periods|service|epochs)|int_pole_(sites|feeders)"
    r"|int_lake_range|int_\w+_windows|state_(?!voltage_events|int_seq_conflicts)\w+"
    r"|INFORMATION_SCHEMA\.PARTITIONS"
)
# https://cloud.google.com/bigquery/pricing#data
BYTES = {"INT64": 8, "FLOAT64": 8, "TIMESTAMP": 8, "DATE": 8, "BOOL": 1, "BIGNUMERIC": 32}
# Characters of a text as the simulator writes it; a text weighs two bytes more.
LENGTHS = {
    "meter_id": 14,
    "pole_id": 9,
    "gateway_id": 12,
    "feeder_id": 9,
    "transformer_id": 12,
    "batch_id": 30,
    "network_profile": 5,
    "flag_text": 0,
    "side": 4,
    "time_zone": 15,
}
OTHER_LENGTH = 32
TEMPORARY = re.compile(r"__dbt_tmp\d*$")


@dataclass(frozen=True)
class Scan:
    """A statement's read of a table: rows of one day of it, and of how many days (None: all)."""

    model: str
    table: str
    is_temporary: bool
    changes: bool
    columns: tuple[str, ...]
    row_bytes: int
    days: tuple[int, ...] | None

    @property
    def day_bytes(self) -> int:
        """Bytes of one full day."""
        return self.row_bytes * ROWS_PER_DAY.get(self.table, RARE)

    @property
    def day_count(self) -> int:
        """How many days are read; a day that the fixture leaves without a row counts."""
        return max(1, len(self.days or ()))


def scan_of(read: dict[str, Any]) -> Scan:
    """A noted read as the judge writes it."""
    table = TEMPORARY.sub("", read["table"])
    return Scan(
        model=TEMPORARY.sub("", read["target"]),
        table=table,
        is_temporary=table != read["table"],
        changes=read["changes"],
        columns=tuple(read["columns"]),
        row_bytes=sum(width(name, kind) for name, kind in read["columns"].items()),
        days=tuple(read["days"]) if read["is_partitioned"] else None,
    )


def width(column: str, kind: str) -> int:
    """Logical bytes of a cell; arrays of texts are empty."""
    if kind == "STRING":
        return 2 + LENGTHS.get(column, OTHER_LENGTH)
    return 0 if kind.startswith("ARRAY") else BYTES[kind]


def strange(scans: Iterable[Scan], open_day: int, day_before: int) -> list[str]:
    """Reads of large tables in other days than a tick may read, in a line each."""
    found = set()
    for scan in scans:
        reaches_back = scan.model in REACH_BACK or scan.table in REACH_BACK_TO
        allowed = {open_day, day_before} if reaches_back else {open_day}
        if scan.table in LARGE and scan.days is None:
            found.add(f"{scan.model} reads all days of {scan.table}")
        elif scan.table in LARGE and not allowed.issuperset(scan.days or ()):
            found.add(f"{scan.model} reads {scan.table} in {set(scan.days or ()) - allowed}")
    return sorted(found)


def report(tick: list[Scan], whole: list[Scan]) -> str:
    """Markdown: what a tick reads of large tables by model; in a line, its rest and all models."""
    lines = ["| model | reads | columns | GB |", "|---|---|---|---|"]
    for (model, table, how), scan in of_large_tables(tick).items():
        named = how or ", ".join(f"`{column}`" for column in scan.columns)
        if table == "raw_meter_readings":
            named = "all"
        where = f"`{table}`" + (f", {scan.day_count} days" if scan.day_count > 1 else "")
        lines.append(f"| `{model}` | {where} | {named} | {gigabytes([scan]):.2f} |")
    lines.append(f"| **all** | | | **{gigabytes(of_large_tables(tick).values()):.0f}** |")
    small, all_small = (sum(per_day_of_lake(scans).values()) / 1e6 for scans in (tick, whole))
    rest = (
        f"Beside it {small:.0f} MB for each day in the lake, of smaller tables. A build of all "
        f"models reads {gigabytes(of_large_tables(whole).values()):.0f} GB and {all_small:.0f} MB "
        "for each day in the lake."
    )
    return "\n".join([*lines, "", rest])


def of_large_tables(scans: Iterable[Scan]) -> dict[tuple[str, str, str], Scan]:
    """Reads of large tables by model, table and how; two scans in one statement are billed once."""
    widest: dict[tuple[str, str, str], Scan] = {}
    for scan in scans:
        if scan.table in LARGE:
            how = "its new rows" if scan.is_temporary else "overwritten" if scan.changes else ""
            known = widest.get((scan.model, scan.table, how))
            if known is None or len(scan.columns) > len(known.columns):
                widest[scan.model, scan.table, how] = scan
    return dict(sorted(widest.items(), key=lambda read: (LARGE.index(read[0][1]), read[0])))


def gigabytes(scans: Iterable[Scan]) -> float:
    """GB of the full days that the scans read."""
    return sum(scan.day_bytes * scan.day_count for scan in scans) / 1e9


def per_day_of_lake(scans: Iterable[Scan]) -> dict[str, int]:
    """Bytes per day of the lake by smaller table, each statement's scans of it counted once."""
    widest: dict[tuple[str, str], int] = defaultdict(int)
    for scan in scans:
        if scan.table not in LARGE and not WHOLE.fullmatch(scan.table) and not scan.is_temporary:
            key = scan.model, scan.table
            widest[key] = max(widest[key], scan.day_bytes)
    totals: dict[str, int] = defaultdict(int)
    for (_, table), size in widest.items():
        totals[table] += size
    return dict(totals)
