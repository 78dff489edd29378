{{ config(partition_by=by_day('hour_ts'), cluster_by=['pole_id']) }}
with meter_hours as (
    select
        hours.*,
        {{ meter_means('hours') }}
    from {{ ref('int_meter_hours') }} as hours
),

poles as (
    select
        pole_id,
        hour_ts,
        cast(sum(expected) as {{ dbt.type_bigint() }}) as expected,
        cast(sum(received) as {{ dbt.type_bigint() }}) as received,
        cast(sum(missing) as {{ dbt.type_bigint() }}) as missing,
        cast(sum(lost) as {{ dbt.type_bigint() }}) as lost,
        cast(sum(not_sampled) as {{ dbt.type_bigint() }}) as not_sampled,
        {{ count_where('received > 0') }} as meters_reporting,
        {{ count_where('is_in_service and is_registered') }} as meters_registered,
        {{ count_where('received > 0 and not is_registered') }} as meters_unregistered,
        cast(sum(low_readings) as {{ dbt.type_bigint() }}) as low_readings,
        cast(sum(high_readings) as {{ dbt.type_bigint() }}) as high_readings,
        min(min_voltage_v) as min_voltage_v,
        sum(voltage_sum_v) as voltage_sum_v,
        max(max_voltage_v) as max_voltage_v,
        sum(received * voltage_sigma_v) as sigma_sum_v,
        sum(received * voltage_sigma_v / nominal_voltage_v) as sigma_sum_pu,
        sum(covered_s) as covered_s,
        sum(energy_kwh) as energy_kwh,
        sum(mean_kw) as mean_kw,
        case
            when {{ count_where('covered_s > 0 and mean_kvar is null') }} = 0
                then sum(mean_kvar)
        end as mean_kvar
    from meter_hours
    group by pole_id, hour_ts
),

transformers as (
    select
        pole_id,
        hour_ts,
        coalesce(transformer_id, pole_id) as transformer_id,
        max(rated_kva) as rated_kva,
        {{ count_where('rated_kva is null') }} as meters_without_rating
    from {{ ref('int_meter_hours') }}
    where is_in_service
    group by pole_id, hour_ts, coalesce(transformer_id, pole_id)
),

ratings as (
    select
        pole_id,
        hour_ts,
        case when sum(meters_without_rating) = 0 then sum(rated_kva) end as rated_kva
    from transformers
    group by pole_id, hour_ts
),

peaks as (
    select
        pole_id,
        {{ floor_time('minute_ts', 3600) }} as hour_ts,
        max(power_kw) as peak_kw
    from {{ ref('minute_agg_pole') }}
    where power_kw is not null and {{ any_time('minute_ts') }}
    group by pole_id, {{ floor_time('minute_ts', 3600) }}
),

ten_minutes as (
    select
        pole_id,
        {{ floor_time('interval_ts', 3600) }} as hour_ts,
        count(*) as valid_intervals,
        {{ count_where('not is_within_limits') }} as intervals_out_of_limits
    from {{ ref('int_voltage_10min') }}
    where is_valid
    group by pole_id, {{ floor_time('interval_ts', 3600) }}
),

events_started as (
    select
        pole_id,
        {{ floor_time('start_ts', 3600) }} as hour_ts,
        {{ count_where("severity = 'minor'") }} as events_minor,
        {{ count_where("severity = 'major'") }} as events_major,
        {{ count_where("severity = 'critical'") }} as events_critical
    from {{ ref('voltage_events') }}
    group by pole_id, {{ floor_time('start_ts', 3600) }}
),

event_spans as (
    select
        events.pole_id,
        events.meter_id,
        {{ epoch_us('events.start_ts') }} as from_us,
        {{ epoch_us('events.end_ts') }} + intervals.sample_interval_ms * 1000 as to_us
    from {{ ref('voltage_events') }} as events
    inner join {{ ref('int_meter_intervals') }} as intervals
        on events.meter_id = intervals.meter_id
),

event_hours as (
    {{ explode_range(
        'event_spans',
        int_div('from_us', 3600 * 1000000),
        int_div('to_us - 1', 3600 * 1000000),
        'hour_number'
    ) }}
),

affected as (
    select
        pole_id,
        {{ timestamp_of_us('hour_number * ' ~ 3600 * 1000000) }} as hour_ts,
        count(distinct meter_id) as meters_with_event
    from event_hours
    group by pole_id, hour_number
),

joined as (
    select
        poles.*,
        peaks.peak_kw,
        ratings.rated_kva,
        latency.latency_median_s,
        latency.latency_p95_s,
        poles.missing / nullif(cast(poles.expected as {{ type_double() }}), 0) as missing_rate,
        sqrt(poles.mean_kw * poles.mean_kw + poles.mean_kvar * poles.mean_kvar)
        / nullif(ratings.rated_kva, 0) as loading,
        ten_minutes.intervals_out_of_limits
        / cast(ten_minutes.valid_intervals as {{ type_double() }}) as share_out_of_limits,
        coalesce(ten_minutes.valid_intervals, 0) as valid_intervals,
        coalesce(events_started.events_minor, 0) as events_minor,
        coalesce(events_started.events_major, 0) as events_major,
        coalesce(events_started.events_critical, 0) as events_critical,
        coalesce(affected.meters_with_event, 0) as meters_with_event
    from poles
    left join ratings on poles.pole_id = ratings.pole_id and poles.hour_ts = ratings.hour_ts
    left join peaks on poles.pole_id = peaks.pole_id and poles.hour_ts = peaks.hour_ts
    left join {{ ref('int_pole_latency_hourly') }} as latency
        on poles.pole_id = latency.pole_id and poles.hour_ts = latency.hour_ts
    left join ten_minutes
        on poles.pole_id = ten_minutes.pole_id and poles.hour_ts = ten_minutes.hour_ts
    left join events_started
        on poles.pole_id = events_started.pole_id and poles.hour_ts = events_started.hour_ts
    left join affected
        on poles.pole_id = affected.pole_id and poles.hour_ts = affected.hour_ts
),

parts as (
    select
        *,
        {{ health_parts() }}
    from joined
)

select
    pole_id,
    hour_ts,
    meters_registered,
    meters_reporting,
    meters_unregistered,
    expected,
    received,
    missing,
    lost,
    not_sampled,
    missing_rate,
    low_readings / nullif(cast(received as {{ type_double() }}), 0) * 100 as pct_low,
    high_readings / nullif(cast(received as {{ type_double() }}), 0) * 100 as pct_high,
    min_voltage_v,
    voltage_sum_v / nullif(received, 0) as mean_voltage_v,
    max_voltage_v,
    sigma_sum_v / nullif(received, 0) as volatility_v,
    sigma_sum_pu / nullif(received, 0) as volatility_pu,
    valid_intervals as valid_10min_intervals,
    share_out_of_limits,
    mean_kw,
    peak_kw,
    case when covered_s > 0 then energy_kwh end as energy_kwh,
    loading,
    events_minor,
    events_major,
    events_critical,
    meters_with_event,
    latency_median_s,
    latency_p95_s,
    score_voltage,
    score_events,
    score_data,
    score_loading,
    {{ health_score(
        {
            'score_voltage': 'health_weight_voltage',
            'score_events': 'health_weight_events',
            'score_data': 'health_weight_data',
            'score_loading': 'health_weight_loading',
        },
        'missing_rate',
        'meters_reporting'
    ) }} as score
from parts
