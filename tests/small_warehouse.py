"""A published warehouse of a few rows: gives tables with the marts' contracts, for any warehouse.

Three poles on 1 to 3 March 2026 (UTC). `p1` (meters m1, m2; feeder f1) draws 2 kW, 5 kW in the
slot at 2 March 18:00; `p2` (meter m3; feeder f2) draws 1 kW; `p3` is registered and silent. m1 sags
on 2 March at 12:00:00 for 6 s (event 1, with readings at 1 Hz around it), again at 13:00 for 90 s;
m2 sags with it at 12:00:00 for 8 s; m3 on 1 March.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import yaml

from ami_contract.lake import DataDir
from ami_store.files import write_with

ROOT = Path(__file__).resolve().parent.parent
START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 3, 4, tzinfo=UTC)
NEWEST = END - timedelta(seconds=1)
SAG = datetime(2026, 3, 2, 12, tzinfo=UTC)
METERS = {"m1": "p1", "m2": "p1", "m3": "p2"}
KW = {"p1": 2.0, "p2": 1.0}
PEAK = datetime(2026, 3, 2, 18, tzinfo=UTC)
METHODS = (
    "same_time_mean",
    "median_n",
    "caiso_10_of_10",
    "ercot_mid_8_of_10",
    "pjm_high_4_of_5",
    "nyiso_high_5_of_10",
)
Row = dict[str, Any]

# Tables without a contract in yml: seeds, and the view of readings.
_OTHERS = {
    "readings": [
        ("meter_id", "string"),
        ("pole_id", "string"),
        ("event_ts", "timestamptz"),
        ("seq", "bigint"),
        ("voltage_v", "double"),
        ("is_received", "boolean"),
    ],
    "dr_events": [
        ("event_id", "string"),
        ("start_ts", "timestamptz"),
        ("end_ts", "timestamptz"),
        ("pole_ids", "string"),
        ("program", "string"),
        ("notes", "string"),
    ],
}
_BIGQUERY = {"timestamptz": "timestamp", "bigint": "int64", "double": "float64", "boolean": "bool"}

# What dbt publishes as functions of a window; every window sheds 1 of 4 kW, except on p2, which
# has no history before 3 March, and p3, which has none.
_FUNCTIONS = (
    """
    create macro recent_sag_events(since) as table
    select * exclude (scope) from recent_rows where since is not null
    """,
    """
    create macro dr_window_performance(window_start, window_end, pole_ids) as table
    select
        poles.pole_id, own.method, own.adjustment, slots.slot_ts, 'event' as phase,
        10::bigint as candidate_days,
        case when known then 4.0::double end as baseline_kw,
        case when poles.pole_id <> 'p3' then 3.0::double end as actual_kw,
        case when known then 1.0::double end as shed_kw,
        1.0::double as adjust_factor, 0.0::double as adjust_offset_kw, false as adjust_fallback,
        own.is_own_adjustment,
        case when not known then 'insufficient_days' end as null_reason
    from (
        select
            pole_id,
            pole_id = 'p1' or (
                pole_id = 'p2' and window_start >= timestamptz '2026-03-03 00:00:00Z'
            ) as known
        from dim_pole
        where len(pole_ids) = 0 or list_contains(pole_ids, pole_id)
    ) as poles
    cross join (
        select method, adjustment, is_own_adjustment
        from dr_baseline_accuracy
        where reference_id = 'default_window' and pole_id = 'p1'
    ) as own
    cross join (
        select unnest(range(window_start, window_end, interval 5 minute)) as slot_ts
    ) as slots
    """,
    """
    create macro dr_window(window_start, window_end, pole_ids) as table
    with slots as (
        from dr_window_performance(window_start, window_end, pole_ids)
    ),
    pole_totals as (
        select
            'pole' as grain, method, adjustment, is_own_adjustment, pole_id,
            count(*) as event_slots, count(shed_kw) as valid_slots,
            count(shed_kw) / count(*) as coverage, sum(baseline_kw) / 12 as baseline_kwh,
            sum(actual_kw) / 12 as actual_kwh, sum(shed_kw) / 12 as shed_kwh,
            100 * sum(shed_kw) / sum(baseline_kw) as shed_pct, 1.0::double as adjust_factor,
            0.0::double as adjust_offset_kw, false as adjust_fallback,
            min(null_reason) as null_reason
        from slots group by all
    )
    select
        'window' as grain, method, adjustment, is_own_adjustment, null::varchar as pole_id,
        null::timestamptz as slot_ts, null::varchar as phase, count(*) as poles,
        null::bigint as known_poles,
        string_agg(case when shed_kwh is null then pole_id end, ',') as unknown_poles,
        null::bigint as event_slots, null::bigint as valid_slots, null::double as coverage,
        case when count(*) = count(shed_kwh) then sum(baseline_kwh) end as baseline_kwh,
        case when count(*) = count(shed_kwh) then sum(actual_kwh) end as actual_kwh,
        case when count(*) = count(shed_kwh) then sum(shed_kwh) end as shed_kwh,
        case when count(*) = count(shed_kwh) then 100 * sum(shed_kwh) / sum(baseline_kwh) end
            as shed_pct,
        null::double as rebound_kwh, null::double as adjust_factor,
        null::double as adjust_offset_kw, null::boolean as adjust_fallback,
        null::varchar as null_reason, null::double as baseline_kw, null::double as actual_kw,
        null::double as shed_kw
    from pole_totals group by method, adjustment, is_own_adjustment
    union all by name
    from pole_totals
    union all by name
    select
        'slot' as grain, method, adjustment, is_own_adjustment, slot_ts, phase,
        count(*) as poles, count(shed_kw) as known_poles,
        case when count(*) = count(baseline_kw) then sum(baseline_kw) end as baseline_kw,
        case when count(*) = count(actual_kw) then sum(actual_kw) end as actual_kw,
        case when count(*) = count(shed_kw) then sum(shed_kw) end as shed_kw
    from slots group by all
    """,
)


@dataclass(frozen=True)
class Table:
    """A mart: columns with their types, and rows."""

    columns: list[tuple[str, str]]
    rows: list[Row]


def columns_of_marts(target: str = "duckdb") -> dict[str, list[tuple[str, str]]]:
    """Columns and types of every mart that has a contract, for a dbt target."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((ROOT / "dbt_ami" / "models" / "marts").rglob("*__models.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
            columns = [
                (
                    column["name"],
                    jinja2.Template(str(column.get("data_type", "string"))).render(
                        target={"type": target}
                    ),
                )
                for column in model["columns"]
            ]
            found[model["name"]] = [
                (column, _BIGQUERY.get(kind, kind) if target == "bigquery" else kind)
                for column, kind in columns
            ]
    # Events that the live tail finds.
    found["recent_rows"] = found["voltage_events"]
    for name, columns in _OTHERS.items():
        kinds = _BIGQUERY if target == "bigquery" else {}
        found[name] = [(column, kinds.get(kind, kind)) for column, kind in columns]
    return found


def event_id(number: int) -> str:
    """Id of the n-th event."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def _events() -> list[Row]:
    def event(number: int, meter_id: str, start: datetime, duration_s: int, **more: Any) -> Row:
        return {
            "event_id": event_id(number),
            "meter_id": meter_id,
            "pole_id": METERS[meter_id],
            "start_ts": start,
            "end_ts": start + timedelta(seconds=duration_s - 1),
            "duration_s": float(duration_s),
            "min_voltage_v": 200.0,
            "mean_voltage_v": 205.0,
            "min_voltage_pu": 200 / 240,
            "sample_count": duration_s,
            "missing_count": 0,
            "evidence": "observed",
            "coarse": False,
            "truncated_start": False,
            "truncated_end": False,
            "ended_by": "recovery",
            "is_open": False,
            "severity": "minor",
            "ieee1159_class": "temporary_sag",
            "scope": "pole",
            **more,
        }

    return [
        event(1, "m1", SAG, 6),
        event(2, "m2", SAG, 8),
        event(3, "m1", SAG + timedelta(hours=1), 90, severity="major", scope="meter"),
        event(4, "m3", START + timedelta(hours=5), 5, scope="undetermined"),
        event(5, "m3", START + timedelta(hours=7), 10, severity="critical", scope="undetermined"),
    ]


def _slots() -> list[Row]:
    rows = []
    for pole_id, kw in KW.items():
        meters = sum(1 for pole in METERS.values() if pole == pole_id)
        for number in range(3 * 288):
            slot_ts = START + number * timedelta(minutes=5)
            power_kw = 5.0 if (pole_id, slot_ts) == ("p1", PEAK) else kw
            rows.append(
                {
                    "pole_id": pole_id,
                    "slot_ts": slot_ts,
                    "power_kw": power_kw,
                    "kwh": power_kw / 12,
                    "covered_kwh": power_kw / 12,
                    "measured_meters": meters,
                    "estimated_meters": 0,
                    "missing_meters": 0,
                    "meters_in_service": meters,
                    "coverage": 1.0,
                    "measured_coverage": 1.0,
                    "dr_power_kw": power_kw,
                    "readings": 300 * meters,
                    "min_voltage_v": 200.0 if (pole_id, slot_ts) == ("p1", SAG) else 238.0,
                    "mean_voltage_v": 240.0,
                    "max_voltage_v": 242.0,
                }
            )
    return rows


def _minutes() -> list[Row]:
    return [
        {
            "pole_id": "p1",
            "minute_ts": SAG + number * timedelta(minutes=1),
            "mean_voltage_v": 239.0,
            "min_voltage_v": 200.0 if not number else 238.0,
            "max_voltage_v": 242.0,
            "power_kw": 2.0,
            "readings": 120,
            "meters_reporting": 2,
            "measured_meters": 2,
            "meters_in_service": 2,
            "coverage": 1.0,
        }
        for number in range(60)
    ]


def _health() -> list[Row]:
    rows = []
    for pole_id in KW:
        meters = sum(1 for pole in METERS.values() if pole == pole_id)
        for number in range(72):
            hour_ts = START + number * timedelta(hours=1)
            sagged = pole_id == "p1" and hour_ts == SAG
            rows.append(
                {
                    "pole_id": pole_id,
                    "hour_ts": hour_ts,
                    "meters_registered": meters,
                    "meters_reporting": meters,
                    "meters_unregistered": 0,
                    "expected": 3600 * meters,
                    "received": 3600 * meters - (100 if sagged else 0),
                    "missing": 100 if sagged else 0,
                    "lost": 60 if sagged else 0,
                    "not_sampled": 40 if sagged else 0,
                    "missing_rate": 100 / (3600 * meters) if sagged else 0.0,
                    "pct_low": 0.2 if sagged else 0.0,
                    "pct_high": 0.0,
                    "min_voltage_v": 200.0 if sagged else 238.0,
                    "mean_voltage_v": 240.0,
                    "max_voltage_v": 242.0,
                    "peak_kw": KW[pole_id],
                    "mean_kw": KW[pole_id],
                    "energy_kwh": KW[pole_id],
                    "loading": 0.1,
                    "events_minor": 2 if sagged else 0,
                    "events_major": 0,
                    "events_critical": 0,
                    "meters_with_event": 2 if sagged else 0,
                    "score": 70.0 if sagged else 100.0,
                }
            )
    return rows


def _readings() -> list[Row]:
    rows = []
    for meter_id, low in (("m1", 6), ("m2", 8)):
        for second in range(-120, 240):
            rows.append(
                {
                    "meter_id": meter_id,
                    "pole_id": METERS[meter_id],
                    "event_ts": SAG + timedelta(seconds=second),
                    "seq": second + 1000,
                    "voltage_v": 200.0 if 0 <= second < low else 240.0,
                    "is_received": True,
                }
            )
    return rows


def _quality() -> list[Row]:
    return [
        {
            "meter_id": meter_id,
            "pole_id": pole_id,
            "hour_ts": START + number * timedelta(hours=1),
            "is_in_service": True,
            "is_registered": True,
            "expected": 3600,
            "received": 3500 if number == 36 else 3600,
            "missing": 100 if number == 36 else 0,
            "lost": 100 if number == 36 else 0,
            "not_sampled": 0,
            "coverage": 3500 / 3600 if number == 36 else 1.0,
            "late": 3,
            "estimated_readings": 0,
            "placeholder_readings": 0,
            "stored_rows": 3610,
            "duplicates": 10,
            "conflicting_copies": 0,
            "repeated_seq": 0,
            "conflicts": 0,
            "latency_median_s": 1.5,
            "latency_p95_s": 3.0,
            "latency_max_s": 9.0,
        }
        for meter_id, pole_id in METERS.items()
        for number in range(72)
    ]


def _accuracy() -> list[Row]:
    own = {"pjm_high_4_of_5": "additive"}
    return [
        {
            "reference_id": "default_window",
            "pole_id": pole_id,
            "method": method,
            "adjustment": adjustment,
            "placebo_days": 40,
            "placebo_hours": 160,
            "mean_actual_kw": 3.0,
            "rrmse": 0.1,
            "bias": 0.01,
            "gate": gate,
            "is_own_adjustment": adjustment == own.get(method, "multiplicative"),
        }
        for pole_id, gate in (("p1", "pass"), ("p2", "not_assessable"))
        for method in METHODS
        for adjustment in ("none", "multiplicative", "additive")
    ]


def _called() -> tuple[list[Row], list[Row]]:
    events = [
        {
            "event_id": f"heat-{number}",
            "start_ts": START + timedelta(days=number, hours=16),
            "end_ts": START + timedelta(days=number, hours=18),
            "pole_ids": "all" if number == 1 else "p1;p2",
            "program": "summer",
            "notes": None,
        }
        for number in range(3)
    ]
    totals = [
        {
            "event_id": event["event_id"],
            "method": method,
            "adjustment": adjustment,
            "is_own_adjustment": adjustment == "multiplicative",
            "poles": 2,
            "unknown_poles": "p2" if event["event_id"] == "heat-0" else None,
            "baseline_kwh": None if event["event_id"] == "heat-0" else 8.0,
            "actual_kwh": None if event["event_id"] == "heat-0" else 6.0,
            "shed_kwh": None if event["event_id"] == "heat-0" else 2.0,
            "shed_pct": None if event["event_id"] == "heat-0" else 25.0,
            "rebound_kwh": None,
        }
        for event in events[:2]
        for method in METHODS
        for adjustment in ("none", "multiplicative", "additive")
    ]
    return events, totals


def _dimensions() -> tuple[list[Row], list[Row]]:
    poles = [
        {
            "pole_id": pole_id,
            "feeder_id": feeder_id,
            "latitude": 37.0,
            "longitude": -122.0,
            "rated_kva": 25.0,
            "first_seen_ts": START if meters else None,
            "last_seen_ts": NEWEST if meters else None,
            "time_zone": "America/Los_Angeles",
            "is_registered": True,
            "transformers": 1,
            "meters_registered": meters or 1,
            "meters_unregistered": 0,
        }
        for pole_id, feeder_id, meters in (("p1", "f1", 2), ("p2", "f2", 1), ("p3", "f2", 0))
    ]
    dim_meter = [
        {
            "meter_id": meter_id,
            "pole_id": pole_id,
            "reported_pole_id": pole_id,
            "transformer_id": f"t-{pole_id}",
            "feeder_id": "f1" if pole_id == "p1" else "f2",
            "nominal_voltage_v": 240.0,
            "sample_interval_ms": 1000,
            "interval_source": "registry",
            "rated_kva": 25.0,
            "latitude": 37.0,
            "longitude": -122.0,
            "time_zone": "America/Los_Angeles",
            "is_registered": True,
            "valid_from": START,
            "valid_to": None,
            "first_seen_ts": None if meter_id == "m4" else START,
            "last_seen_ts": None if meter_id == "m4" else NEWEST,
        }
        for meter_id, pole_id in {**METERS, "m4": "p3"}.items()
    ]
    return poles, dim_meter


def rows_of_marts() -> dict[str, list[Row]]:
    """Rows of the marts that hold some."""
    dim_pole, dim_meter = _dimensions()
    dr_events, dr_event_totals = _called()
    return {
        "dim_pole": dim_pole,
        "dim_meter": dim_meter,
        "v_5min_pole": _slots(),
        "minute_agg_pole": _minutes(),
        "pole_health_hourly": _health(),
        "voltage_events": _events(),
        "superseded_events": [
            {
                "event_id": event_id(101),
                "meter_id": "m1",
                "pole_id": "p1",
                "start_ts": SAG,
                "end_ts": SAG,
                "duration_s": 6.0,
                "superseded_by": event_id(1),
                "superseded_at": END,
            },
            {
                "event_id": event_id(102),
                "meter_id": "m1",
                "pole_id": "p1",
                "start_ts": SAG,
                "end_ts": SAG,
                "duration_s": 6.0,
                "superseded_by": None,
                "superseded_at": END,
            },
        ],
        "outages": [
            {
                "outage_id": event_id(201),
                "meter_id": "m3",
                "pole_id": "p2",
                "feeder_id": "f2",
                "start_ts": START + timedelta(hours=20),
                "end_ts": None,
                "until_ts": END,
                "duration_s": 52 * 3600.0,
                "ended_by": "open",
                "is_open": True,
                "gasp_voltage_v": 100.0,
                "sample_interval_s": 1.0,
            }
        ],
        "readings": _readings(),
        "meter_data_quality_hourly": _quality(),
        "voltage_quality_daily": [
            {
                "meter_id": "m1",
                "local_date": date(2026, 3, 2),
                "time_zone": "America/Los_Angeles",
                "pole_id": "p1",
                "nominal_voltage_v": 240.0,
                "status": "assessed",
                "valid_intervals": 144,
                "range_a_share": 0.75,
                "range_b_share": 0.25,
                "out_share": 0.0,
                "min_rms_v": 230.0,
                "mean_rms_v": 240.0,
                "max_rms_v": 245.0,
            }
        ],
        "dr_baseline_accuracy": _accuracy(),
        "dr_events": dr_events,
        "dr_event_totals": dr_event_totals,
    }


def create_marts(con: duckdb.DuckDBPyConnection, rows: dict[str, list[Row]]) -> None:
    """Make every mart with its contract, with `rows`, and dbt's table functions."""
    con.execute("SET TimeZone = 'UTC'")
    con.execute("CREATE SCHEMA lake")
    con.execute(
        "CREATE TABLE lake.listing AS SELECT timestamptz '2026-03-04 00:00:01Z' AS listed_at"
    )
    for name, columns in columns_of_marts().items():
        described = ", ".join(f'"{column}" {kind}' for column, kind in columns)
        con.execute(f"CREATE TABLE {name} ({described})")
        if rows.get(name):
            names = [column for column, _ in columns]
            table = pa.Table.from_pylist(
                [{column: row.get(column) for column in names} for row in rows[name]]
            )
            con.register("given", table)
            con.execute(f"INSERT INTO {name} SELECT * FROM given")
            con.unregister("given")
    for function in _FUNCTIONS:
        con.execute(function)


def publish_small(data: DataDir, rows: dict[str, list[Row]] | None = None) -> None:
    """Publish a warehouse of `rows` (default: all of them), replacing what is published."""
    found = rows_of_marts() if rows is None else rows

    def write(path: Any) -> None:
        with duckdb.connect(str(path)) as con:
            create_marts(con, found)

    data.published_warehouse.parent.mkdir(parents=True, exist_ok=True)
    write_with(data.published_warehouse, write)
