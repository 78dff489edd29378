{{ config(partition_by=by_day('day_ts'), cluster_by=['pole_id']) }}
with {{ health_daily('pole_id') }},

latencies as (
    select
        pole_id,
        {{ floor_time('hour_ts', 86400) }} as day_ts,
        max(latency_median_s) as worst_hour_latency_median_s,
        max(latency_p95_s) as worst_hour_latency_p95_s
    from {{ ref('int_pole_latency_hourly') }}
    group by pole_id, {{ floor_time('hour_ts', 86400) }}
)

select
    parts.unit_id as pole_id,
    parts.day_ts,
    parts.meters_registered,
    parts.meters_reporting,
    parts.meters_unregistered,
    parts.expected,
    parts.received,
    parts.missing,
    parts.lost,
    parts.not_sampled,
    parts.missing_rate,
    parts.low_readings / nullif(cast(parts.received as {{ type_double() }}), 0) * 100 as pct_low,
    parts.high_readings / nullif(cast(parts.received as {{ type_double() }}), 0) * 100 as pct_high,
    parts.min_voltage_v,
    parts.voltage_sum_v / nullif(parts.received, 0) as mean_voltage_v,
    parts.max_voltage_v,
    parts.sigma_sum_v / nullif(parts.received, 0) as volatility_v,
    parts.sigma_sum_pu / nullif(parts.received, 0) as volatility_pu,
    parts.valid_intervals as valid_10min_intervals,
    parts.intervals_out_of_limits,
    parts.share_out_of_limits,
    parts.mean_kw,
    parts.peak_kw,
    case when parts.covered_s > 0 then parts.energy_kwh end as energy_kwh,
    parts.loading,
    parts.events_minor,
    parts.events_major,
    parts.events_critical,
    parts.meters_with_event,
    latencies.worst_hour_latency_median_s,
    latencies.worst_hour_latency_p95_s,
    parts.score_voltage,
    parts.score_events,
    parts.score_data,
    parts.score_loading,
    {{ health_score(
        {
            'score_voltage': 'health_weight_voltage',
            'score_events': 'health_weight_events',
            'score_data': 'health_weight_data',
            'score_loading': 'health_weight_loading',
        },
        'parts.missing_rate',
        'parts.meters_reporting'
    ) }} as score
from parts
left join latencies
    on parts.unit_id = latencies.pole_id and parts.day_ts = latencies.day_ts
