"""What the API asks a warehouse: reads nothing, gives each question as one constant statement.

The text is GoogleSQL that DuckDB understands too; values come in as named parameters (`@name`)
only. `duckdb_text` and `bigquery_text` give what each warehouse takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

# Type of every parameter, whatever statement it is in.
PARAMETER_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "adjustment": "STRING",
        "after_id": "STRING",
        "after_ts": "TIMESTAMP",
        "end": "TIMESTAMP",
        "event_id": "STRING",
        "feeder_id": "STRING",
        "files": "ARRAY<STRING>",
        "first_day": "DATE",
        "health_since": "TIMESTAMP",
        "last_day": "DATE",
        "meter_id": "STRING",
        "method": "STRING",
        "min_duration_s": "FLOAT64",
        "pole_id": "STRING",
        "pole_ids": "ARRAY<STRING>",
        "read_end": "TIMESTAMP",
        "read_start": "TIMESTAMP",
        "resolution_s": "INT64",
        "row_limit": "INT64",
        "scope": "STRING",
        "severity": "STRING",
        "since": "TIMESTAMP",
        "start": "TIMESTAMP",
    }
)
_DUCKDB_TYPES: Final = {
    "STRING": "VARCHAR",
    "TIMESTAMP": "TIMESTAMPTZ",
    "FLOAT64": "DOUBLE",
    "INT64": "BIGINT",
    "DATE": "DATE",
    "ARRAY<STRING>": "VARCHAR[]",
}
# GoogleSQL's functions that DuckDB has not, for the connection that reads a snapshot.
DUCKDB_FUNCTIONS: Final = (
    "CREATE MACRO div(a, b) AS a // b",
    "CREATE MACRO unix_seconds(ts) AS epoch_us(ts) // 1000000",
    "CREATE MACRO timestamp_seconds(s) AS make_timestamptz(s * 1000000)",
)
_PARAMETER: Final = re.compile(r"@(\w+)")
_IN_LIST: Final = re.compile(r"in unnest\(@(\w+)\)")
_FROM_READINGS: Final = re.compile(r"\bfrom readings\b")
# Functions that dbt publishes; BigQuery finds them by the name of their dataset only.
_TABLE_FUNCTION: Final = re.compile(r"\b(dr_window\w*|recent_sag_events)\(")


@dataclass(frozen=True)
class Statement:
    """One question to a warehouse.

    Attributes:
        name: for logs, metrics and job labels.
        sql: its text, with `@name` for each value.
        row_limit: most rows it may give; more are an error of the caller's bounds.
        span: the parameters that bound the `event_ts` of `readings`, for statements that read
            them: DuckDB then opens the files of these hours only.
        live_from: the parameter from which on it reads `raw_meter_readings` as they are stored
            now, for statements that do.
    """

    name: str
    sql: str
    row_limit: int
    span: tuple[str, str] | None = None
    live_from: str | None = None

    @property
    def parameters(self) -> frozenset[str]:
        """Names of its values."""
        return frozenset(_PARAMETER.findall(self.sql))


@lru_cache(maxsize=256)
def duckdb_text(statement: Statement, *, by_files: bool = False) -> str:
    """The statement as DuckDB takes it: `$name`, each of its type.

    Args:
        statement: the statement.
        by_files: read the readings of the files in `$files` instead of all.
    """
    sql = statement.sql
    if by_files:
        sql = _FROM_READINGS.sub("from readings_of(@files)", sql)

    def typed(found: re.Match[str]) -> str:
        return f"${found[1]}::{_DUCKDB_TYPES[PARAMETER_TYPES[found[1]]]}"

    listed = _IN_LIST.sub(r"in (select unnest(@\1))", sql)
    return _PARAMETER.sub(typed, listed)


@lru_cache(maxsize=256)
def bigquery_text(statement: Statement, dataset: str) -> str:
    """The statement as BigQuery takes it, with `dataset` before dbt's table functions.

    Args:
        dataset: `project.dataset`, of letters, digits, `_`, `-` and `.`.
    """
    if not re.fullmatch(r"[\w.:-]+", dataset):
        raise ValueError(f"{dataset!r} is no name of a dataset")
    return _TABLE_FUNCTION.sub(rf"`{dataset}`.\1(", statement.sql)


NEWEST: Final = Statement(
    "newest",
    """
select
    min(first_seen_ts) as oldest_event_ts,
    max(last_seen_ts) as newest_event_ts,
    count(*) as poles
from dim_pole
""",
    1,
)

_POLE_COLUMNS: Final = """
    poles.pole_id,
    poles.feeder_id,
    poles.latitude,
    poles.longitude,
    poles.rated_kva,
    poles.time_zone,
    poles.is_registered,
    poles.transformers,
    poles.meters_registered,
    poles.meters_unregistered,
    poles.first_seen_ts,
    poles.last_seen_ts
"""

POLES: Final = Statement(
    "poles",
    f"""
with newest as (
    select pole_id, max(hour_ts) as hour_ts
    from pole_health_hourly
    where hour_ts >= @health_since
    group by pole_id
)
select
    {_POLE_COLUMNS},
    health.hour_ts as health_hour_ts,
    health.score as health_score,
    health.meters_reporting,
    health.missing_rate,
    health.pct_low as low_readings_pct,
    health.min_voltage_v,
    health.mean_voltage_v,
    health.max_voltage_v,
    health.peak_kw,
    health.energy_kwh,
    health.loading,
    health.events_minor,
    health.events_major,
    health.events_critical
from dim_pole as poles
left join newest on poles.pole_id = newest.pole_id
left join pole_health_hourly as health
    on
        newest.pole_id = health.pole_id
        and newest.hour_ts = health.hour_ts
        and health.hour_ts >= @health_since
where
    (@feeder_id is null or poles.feeder_id = @feeder_id)
    and (@after_id is null or poles.pole_id > @after_id)
order by poles.pole_id
limit @row_limit
""",
    1001,
)

POLE_NAMES: Final = Statement(
    "pole_names", "select pole_id from dim_pole order by pole_id limit @row_limit", 100_000
)

POLE: Final = Statement(
    "pole",
    f"select {_POLE_COLUMNS} from dim_pole as poles where poles.pole_id = @pole_id",
    1,
)

POLE_SUMMARY: Final = Statement(
    "pole_summary",
    f"""
with slots as (
    select
        slot_ts,
        power_kw,
        kwh,
        covered_kwh,
        measured_meters,
        estimated_meters,
        missing_meters,
        meters_in_service,
        coverage,
        readings,
        min_voltage_v,
        mean_voltage_v,
        max_voltage_v
    from v_5min_pole
    where pole_id = @pole_id and slot_ts >= @start and slot_ts < @end
),
power as (
    select
        count(*) as slots,
        count(power_kw) as power_slots,
        sum(kwh) as energy_kwh,
        sum(covered_kwh) as covered_kwh,
        avg(power_kw) as mean_kw,
        min(power_kw) as min_kw,
        max(power_kw) as peak_kw,
        sum(measured_meters) as measured,
        sum(estimated_meters) as estimated,
        sum(missing_meters) as missing_values,
        sum(coverage * meters_in_service) as covered,
        sum(meters_in_service) as in_service,
        sum(readings) as readings,
        min(min_voltage_v) as min_voltage_v,
        sum(mean_voltage_v * readings) as voltage_sum_v,
        sum(case when mean_voltage_v is not null then readings end) as voltage_readings,
        max(max_voltage_v) as max_voltage_v
    from slots
),
peak as (
    select min(slots.slot_ts) as peak_slot_ts
    from slots cross join power
    where slots.power_kw = power.peak_kw
),
hours as (
    select
        count(*) as health_hours,
        sum(expected) as expected,
        sum(received) as received,
        sum(missing) as missing,
        sum(lost) as lost,
        sum(not_sampled) as not_sampled,
        sum(pct_low * received) as low_sum,
        sum(pct_high * received) as high_sum,
        min(score) as lowest_score,
        max(loading) as highest_hourly_loading,
        max(hour_ts) as newest_hour_ts
    from pole_health_hourly
    where pole_id = @pole_id and hour_ts >= @read_start and hour_ts < @end
),
newest as (
    select health.score as latest_score
    from pole_health_hourly as health
    cross join hours
    where
        health.pole_id = @pole_id
        and health.hour_ts = hours.newest_hour_ts
        and health.hour_ts >= @read_start
        and health.hour_ts < @end
),
events as (
    select
        count(*) as events,
        sum(case when severity = 'minor' then 1 else 0 end) as events_minor,
        sum(case when severity = 'major' then 1 else 0 end) as events_major,
        sum(case when severity = 'critical' then 1 else 0 end) as events_critical,
        count(distinct meter_id) as meters_with_event,
        max(duration_s) as longest_event_s,
        min(min_voltage_pu) as lowest_voltage_pu
    from voltage_events
    where pole_id = @pole_id and start_ts >= @start and start_ts < @end
),
unpowered as (
    select count(*) as outages
    from outages
    where pole_id = @pole_id and start_ts < @end and until_ts > @start
)
select
    {_POLE_COLUMNS},
    power.slots,
    power.power_slots,
    power.energy_kwh,
    power.covered_kwh,
    power.mean_kw,
    power.min_kw,
    power.peak_kw,
    peak.peak_slot_ts,
    power.measured / nullif(power.in_service, 0) as measured_share,
    power.estimated / nullif(power.in_service, 0) as estimated_share,
    power.missing_values / nullif(power.in_service, 0) as missing_share,
    power.covered / nullif(power.in_service, 0) as coverage,
    coalesce(power.readings, 0) as readings,
    power.min_voltage_v,
    power.voltage_sum_v / nullif(power.voltage_readings, 0) as mean_voltage_v,
    power.max_voltage_v,
    hours.health_hours,
    coalesce(hours.expected, 0) as expected,
    coalesce(hours.received, 0) as received,
    coalesce(hours.missing, 0) as missing,
    coalesce(hours.lost, 0) as lost,
    coalesce(hours.not_sampled, 0) as not_sampled,
    hours.missing / nullif(hours.expected, 0) as missing_rate,
    hours.low_sum / nullif(hours.received, 0) as low_readings_pct,
    hours.high_sum / nullif(hours.received, 0) as high_readings_pct,
    newest.latest_score,
    hours.lowest_score,
    hours.highest_hourly_loading,
    events.events,
    coalesce(events.events_minor, 0) as events_minor,
    coalesce(events.events_major, 0) as events_major,
    coalesce(events.events_critical, 0) as events_critical,
    events.meters_with_event,
    events.longest_event_s,
    events.lowest_voltage_pu,
    unpowered.outages
from dim_pole as poles
cross join power
cross join peak
cross join hours
left join newest on true
cross join events
cross join unpowered
where poles.pole_id = @pole_id
""",
    1,
)

_SERIES: Final = """
select
    timestamp_seconds(div(unix_seconds(ts), @resolution_s) * @resolution_s) as ts,
    sum(mean_voltage_v * readings)
    / nullif(sum(case when mean_voltage_v is not null then readings end), 0) as mean_voltage_v,
    min(min_voltage_v) as min_voltage_v,
    max(max_voltage_v) as max_voltage_v,
    avg(power_kw) as mean_kw,
    min(power_kw) as min_kw,
    max(power_kw) as max_kw,
    sum(kwh) as energy_kwh,
    sum(coverage * meters_in_service) / nullif(sum(meters_in_service), 0) as coverage,
    min(coverage) as min_coverage,
    max(coverage) as max_coverage,
    count(power_kw) as power_parts,
    sum(readings) as readings
from parts
group by 1
order by 1
limit @row_limit
"""

# A week of minutes, widened to whole ones.
MAX_POINTS: Final = 7 * 24 * 60 + 1

SERIES_OF_MINUTES: Final = Statement(
    "series_of_minutes",
    f"""
with parts as (
    select
        minute_ts as ts,
        mean_voltage_v,
        min_voltage_v,
        max_voltage_v,
        power_kw,
        power_kw / 60 as kwh,
        coverage,
        meters_in_service,
        readings
    from minute_agg_pole
    where pole_id = @pole_id and minute_ts >= @start and minute_ts < @end
)
{_SERIES}
""",
    MAX_POINTS,
)

SERIES_OF_SLOTS: Final = Statement(
    "series_of_slots",
    f"""
with parts as (
    select
        slot_ts as ts,
        mean_voltage_v,
        min_voltage_v,
        max_voltage_v,
        power_kw,
        kwh,
        coverage,
        meters_in_service,
        readings
    from v_5min_pole
    where pole_id = @pole_id and slot_ts >= @start and slot_ts < @end
)
{_SERIES}
""",
    MAX_POINTS,
)

_EVENT_COLUMNS: Final = """
    event_id,
    meter_id,
    pole_id,
    start_ts,
    end_ts,
    duration_s,
    min_voltage_v,
    mean_voltage_v,
    min_voltage_pu,
    sample_count,
    missing_count,
    evidence,
    coarse,
    truncated_start,
    truncated_end,
    ended_by,
    is_open,
    severity,
    ieee1159_class,
    scope
"""

ANOMALIES: Final = Statement(
    "anomalies",
    f"""
select {_EVENT_COLUMNS}
from voltage_events
where
    start_ts >= @start
    and start_ts < @end
    and (@pole_id is null or pole_id = @pole_id)
    and (@meter_id is null or meter_id = @meter_id)
    and (@severity is null or severity = @severity)
    and (@scope is null or scope = @scope)
    and (@min_duration_s is null or duration_s >= @min_duration_s)
    and (
        @after_ts is null
        or start_ts < @after_ts
        or (start_ts = @after_ts and event_id > @after_id)
    )
order by start_ts desc, event_id
limit @row_limit
""",
    1001,
)

ANOMALY: Final = Statement(
    "anomaly",
    f"select {_EVENT_COLUMNS} from voltage_events where event_id = @event_id limit 1",
    1,
)

SUPERSEDED: Final = Statement(
    "superseded",
    """
select superseded_by, superseded_at
from superseded_events
where event_id = @event_id
order by superseded_at desc
limit 1
""",
    1,
)

# Readings of a trace; 20 meters at 1 Hz for a quarter of an hour are 18 000.
MAX_TRACE_READINGS: Final = 20_000

TRACES: Final = Statement(
    "traces",
    """
select meter_id, event_ts, voltage_v
from readings
where
    pole_id = @pole_id
    and event_ts >= @start
    and event_ts < @end
    and is_received
order by event_ts, meter_id
limit @row_limit
""",
    MAX_TRACE_READINGS + 1,
    ("start", "end"),
)

RECENT_EVENTS: Final = Statement(
    "recent_events",
    """
select
    event_id,
    meter_id,
    pole_id,
    start_ts,
    end_ts,
    duration_s,
    min_voltage_v,
    mean_voltage_v,
    min_voltage_pu,
    sample_count,
    missing_count,
    evidence,
    coarse,
    truncated_start,
    truncated_end,
    ended_by,
    is_open,
    severity,
    ieee1159_class,
    'undetermined' as scope
from recent_sag_events(@since)
order by start_ts desc, event_id
limit @row_limit
""",
    1000,
    live_from="since",
)

# Copies of a reading say the same.
LIVE_TRACES: Final = Statement(
    "live_traces",
    """
select distinct meter_id, event_ts, voltage_v
from raw_meter_readings
where pole_id = @pole_id and event_ts >= @start and event_ts < @end
order by event_ts, meter_id
limit @row_limit
""",
    MAX_TRACE_READINGS + 1,
    live_from="start",
)

INTERVAL_MEANS: Final = Statement(
    "interval_means",
    """
with widths as (
    select 300 as interval_s
    union all
    select 900 as interval_s
    union all
    select 3600 as interval_s
),
samples as (
    select event_ts, voltage_v
    from readings
    where
        pole_id = @pole_id
        and meter_id = @meter_id
        and event_ts >= @read_start
        and event_ts < @read_end
        and is_received
),
placed as (
    select
        widths.interval_s,
        timestamp_seconds(
            div(unix_seconds(samples.event_ts), widths.interval_s) * widths.interval_s
        ) as interval_ts,
        timestamp_seconds(
            (div(unix_seconds(samples.event_ts), widths.interval_s) + 1) * widths.interval_s
        ) as interval_end_ts,
        samples.voltage_v
    from samples
    cross join widths
)
select
    interval_s,
    interval_ts as start_ts,
    avg(voltage_v) as mean_voltage_v,
    min(voltage_v) as min_voltage_v,
    count(*) as readings
from placed
where interval_end_ts > @start and interval_ts <= @end
group by interval_s, interval_ts
order by interval_s, interval_ts
limit @row_limit
""",
    64,
    ("read_start", "read_end"),
)

METER: Final = Statement(
    "meter",
    """
select
    meter_id,
    pole_id,
    transformer_id,
    feeder_id,
    nominal_voltage_v,
    sample_interval_ms,
    time_zone,
    is_registered,
    first_seen_ts,
    last_seen_ts
from dim_meter
where meter_id = @meter_id
""",
    1,
)

METER_QUALITY_TOTAL: Final = Statement(
    "meter_quality_total",
    """
select
    count(*) as hours,
    coalesce(sum(expected), 0) as expected,
    coalesce(sum(received), 0) as received,
    coalesce(sum(missing), 0) as missing,
    coalesce(sum(lost), 0) as lost,
    coalesce(sum(not_sampled), 0) as not_sampled,
    sum(missing) / nullif(sum(expected), 0) as missing_rate,
    case
        when sum(received) >= sum(expected) and sum(expected) > 0 then 1
        else sum(received) / nullif(sum(expected), 0)
    end as coverage,
    coalesce(sum(late), 0) as late,
    coalesce(sum(estimated_readings), 0) as estimated_readings,
    coalesce(sum(stored_rows), 0) as stored_rows,
    coalesce(sum(duplicates), 0) as duplicates,
    coalesce(sum(conflicts), 0) as conflicts,
    max(latency_max_s) as latency_max_s
from meter_data_quality_hourly
where meter_id = @meter_id and hour_ts >= @start and hour_ts < @end
""",
    1,
)

METER_QUALITY_HOURS: Final = Statement(
    "meter_quality_hours",
    """
select
    hour_ts,
    is_in_service,
    expected,
    received,
    missing,
    lost,
    not_sampled,
    coverage,
    late,
    estimated_readings,
    stored_rows,
    duplicates,
    conflicts,
    latency_median_s,
    latency_p95_s,
    latency_max_s
from meter_data_quality_hourly
where meter_id = @meter_id and hour_ts >= @start and hour_ts < @end
order by hour_ts
limit @row_limit
""",
    # 31 days, widened to whole hours.
    24 * 31 + 1,
)

_QUALITY_SUMS: Final = """
    coalesce(sum(expected), 0) as expected,
    coalesce(sum(received), 0) as received,
    coalesce(sum(missing), 0) as missing,
    coalesce(sum(lost), 0) as lost,
    coalesce(sum(not_sampled), 0) as not_sampled,
    case
        when sum(received) >= sum(expected) and sum(expected) > 0 then 1
        else sum(received) / nullif(sum(expected), 0)
    end as coverage,
    coalesce(sum(late), 0) as late,
    coalesce(sum(estimated_readings), 0) as estimated_readings,
    coalesce(sum(stored_rows), 0) as stored_rows,
    coalesce(sum(duplicates), 0) as duplicates,
    coalesce(sum(conflicts), 0) as conflicts,
"""

FLEET_QUALITY_METERS: Final = Statement(
    "fleet_quality_meters",
    f"""
with hours as (
    select *
    from meter_data_quality_hourly
    where
        hour_ts >= @start
        and hour_ts < @end
        and (@pole_id is null or pole_id = @pole_id)
),
counted as (
    select
        meter_id,
        {_QUALITY_SUMS}
        sum(missing) / nullif(sum(expected), 0) as missing_rate,
        max(latency_max_s) as latency_max_s,
        count(*) as hours
    from hours
    group by meter_id
)
select
    meters.meter_id,
    meters.pole_id,
    meters.transformer_id,
    meters.feeder_id,
    meters.nominal_voltage_v,
    meters.sample_interval_ms,
    meters.time_zone,
    meters.is_registered,
    meters.first_seen_ts,
    meters.last_seen_ts,
    coalesce(counted.hours, 0) as hours,
    coalesce(counted.expected, 0) as expected,
    coalesce(counted.received, 0) as received,
    coalesce(counted.missing, 0) as missing,
    coalesce(counted.lost, 0) as lost,
    coalesce(counted.not_sampled, 0) as not_sampled,
    counted.coverage,
    coalesce(counted.late, 0) as late,
    coalesce(counted.estimated_readings, 0) as estimated_readings,
    coalesce(counted.stored_rows, 0) as stored_rows,
    coalesce(counted.duplicates, 0) as duplicates,
    coalesce(counted.conflicts, 0) as conflicts,
    counted.missing_rate,
    counted.latency_max_s
from dim_meter as meters
left join counted on meters.meter_id = counted.meter_id
where
    (@pole_id is null or meters.pole_id = @pole_id)
    and (@after_id is null or meters.meter_id > @after_id)
order by meters.meter_id
limit @row_limit
""",
    1001,
)

FLEET_QUALITY_HOURS: Final = Statement(
    "fleet_quality_hours",
    f"""
select
    hour_ts,
    {_QUALITY_SUMS}
    sum(missing) / nullif(sum(expected), 0) as missing_rate,
    max(latency_max_s) as latency_max_s,
    count(*) as meters
from meter_data_quality_hourly
where
    hour_ts >= @start
    and hour_ts < @end
    and (@pole_id is null or pole_id = @pole_id)
group by hour_ts
order by hour_ts
limit @row_limit
""",
    24 * 31 + 1,
)

METER_VOLTAGE_DAYS: Final = Statement(
    "meter_voltage_days",
    """
select
    local_date,
    time_zone,
    status,
    valid_intervals,
    range_a_share,
    range_b_share,
    out_share,
    en50160_within_share,
    min_rms_v,
    mean_rms_v,
    max_rms_v
from voltage_quality_daily
where meter_id = @meter_id and local_date >= @first_day and local_date <= @last_day
order by local_date, time_zone
limit @row_limit
""",
    64,
)

DR_EVENTS: Final = Statement(
    "dr_events",
    """
with page as (
    select event_id, start_ts, end_ts, pole_ids, program, notes
    from dr_events
    where
        @after_ts is null
        or start_ts < @after_ts
        or (start_ts = @after_ts and event_id > @after_id)
    order by start_ts desc, event_id
    limit @row_limit
)
select
    page.event_id,
    page.start_ts,
    page.end_ts,
    page.pole_ids,
    page.program,
    page.notes,
    totals.method,
    totals.adjustment,
    totals.is_own_adjustment,
    totals.poles,
    totals.unknown_poles,
    totals.baseline_kwh,
    totals.actual_kwh,
    totals.shed_kwh,
    totals.shed_pct,
    totals.rebound_kwh
from page
left join dr_event_totals as totals on page.event_id = totals.event_id
order by page.start_ts desc, page.event_id, totals.method, totals.adjustment
""",
    # A row per event, method and adjustment.
    101 * 18,
)

# 24 h of window, the adjustment window before it and the rebound after it, of 5 minutes.
_MAX_DR_SLOTS: Final = 12 * 36
_MAX_DR_POLES: Final = 10_000

# The window, its poles and its slots in one: each call computes all of them.
DR_WINDOW: Final = Statement(
    "dr_window",
    """
select
    grain,
    adjustment,
    pole_id,
    slot_ts,
    phase,
    poles,
    known_poles,
    unknown_poles,
    event_slots,
    valid_slots,
    coverage,
    baseline_kwh,
    actual_kwh,
    shed_kwh,
    shed_pct,
    rebound_kwh,
    adjust_factor,
    adjust_offset_kw,
    adjust_fallback,
    null_reason,
    baseline_kw,
    actual_kw,
    shed_kw
from dr_window(@start, @end, @pole_ids)
where
    method = @method
    and (adjustment = @adjustment or (@adjustment is null and is_own_adjustment))
order by grain, slot_ts, pole_id
limit @row_limit
""",
    1 + _MAX_DR_POLES + _MAX_DR_SLOTS,
)

DR_ACCURACY: Final = Statement(
    "dr_accuracy",
    """
select pole_id, placebo_days, placebo_hours, mean_actual_kw, rrmse, bias, gate
from dr_baseline_accuracy
where
    reference_id = 'default_window'
    and method = @method
    and (adjustment = @adjustment or (@adjustment is null and is_own_adjustment))
order by pole_id
limit @row_limit
""",
    _MAX_DR_POLES,
)

POLES_HEARD: Final = Statement(
    "poles_heard",
    """
select pole_id, feeder_id, last_seen_ts
from dim_pole
order by pole_id
limit @row_limit
""",
    10_000,
)

METERS_IN_SERVICE: Final = Statement(
    "meters_in_service",
    """
select meter_id, pole_id, last_seen_ts, sample_interval_ms
from dim_meter
where valid_to is null or valid_to > @start
order by meter_id
limit @row_limit
""",
    100_000,
)

STATEMENTS: Final = (
    NEWEST,
    POLES,
    POLE_NAMES,
    POLE,
    POLE_SUMMARY,
    SERIES_OF_MINUTES,
    SERIES_OF_SLOTS,
    ANOMALIES,
    ANOMALY,
    SUPERSEDED,
    TRACES,
    RECENT_EVENTS,
    LIVE_TRACES,
    INTERVAL_MEANS,
    METER,
    METER_QUALITY_TOTAL,
    METER_QUALITY_HOURS,
    FLEET_QUALITY_METERS,
    FLEET_QUALITY_HOURS,
    METER_VOLTAGE_DAYS,
    DR_EVENTS,
    DR_WINDOW,
    DR_ACCURACY,
    POLES_HEARD,
    METERS_IN_SERVICE,
)
