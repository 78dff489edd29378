{#-
  CTEs that end in `parts`: health of every `unit` (pole_id or feeder_id, in the column unit_id) and
  UTC day, with the parts of its score. All of it is counted and added up over the day itself; no
  hourly rate, deviation or score is averaged.
-#}
{%- macro health_daily(unit) -%}
{%- set day_us = 86400 * 1000000 -%}
sites as (
    select
        pole_id,
        {{ unit }} as unit_id
    from {{ ref('dim_pole') }}
    where {{ unit }} is not null
),

meter_days as (
    select
        days.*,
        sites.unit_id,
        {{ meter_means('days') }}
    from {{ ref('int_meter_days') }} as days
    inner join sites on days.pole_id = sites.pole_id
),

units as (
    select
        unit_id,
        day_ts,
        count(distinct pole_id) as poles,
        count(distinct case when received > 0 then pole_id end) as poles_reporting,
        cast(sum(expected) as {{ dbt.type_bigint() }}) as expected,
        cast(sum(received) as {{ dbt.type_bigint() }}) as received,
        cast(sum(missing) as {{ dbt.type_bigint() }}) as missing,
        cast(sum(lost) as {{ dbt.type_bigint() }}) as lost,
        cast(sum(not_sampled) as {{ dbt.type_bigint() }}) as not_sampled,
        count(distinct case when is_in_service and is_registered then meter_id end)
            as meters_registered,
        count(distinct case when received > 0 then meter_id end) as meters_reporting,
        count(distinct case when received > 0 and not is_registered then meter_id end)
            as meters_unregistered,
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
    from meter_days
    group by unit_id, day_ts
),

transformers as (
    select
        unit_id,
        day_ts,
        coalesce(transformer_id, pole_id) as transformer_id,
        max(rated_kva) as rated_kva,
        {{ count_where('rated_kva is null') }} as meters_without_rating
    from meter_days
    where is_in_service
    group by unit_id, day_ts, coalesce(transformer_id, pole_id)
),

ratings as (
    select
        unit_id,
        day_ts,
        case when sum(meters_without_rating) = 0 then sum(rated_kva) end as rated_kva
    from transformers
    group by unit_id, day_ts
),

unit_minutes as (
    select
        sites.unit_id,
        minutes.minute_ts,
        sum(minutes.power_kw) as power_kw
    from {{ ref('minute_agg_pole') }} as minutes
    inner join sites on minutes.pole_id = sites.pole_id
    where minutes.power_kw is not null and {{ any_time('minutes.minute_ts') }}
    group by sites.unit_id, minutes.minute_ts
),

peaks as (
    select
        unit_id,
        {{ floor_time('minute_ts', 86400) }} as day_ts,
        max(power_kw) as peak_kw
    from unit_minutes
    group by unit_id, {{ floor_time('minute_ts', 86400) }}
),

ten_minutes as (
    select
        sites.unit_id,
        {{ floor_time('intervals.interval_ts', 86400) }} as day_ts,
        count(*) as valid_intervals,
        {{ count_where('not intervals.is_within_limits') }} as intervals_out_of_limits
    from {{ ref('int_voltage_10min') }} as intervals
    inner join sites on intervals.pole_id = sites.pole_id
    where intervals.is_valid
    group by sites.unit_id, {{ floor_time('intervals.interval_ts', 86400) }}
),

events as (
    select
        sites.unit_id,
        events.meter_id,
        events.severity,
        {{ floor_time('events.start_ts', 86400) }} as start_day_ts,
        {{ epoch_us('events.start_ts') }} as from_us,
        {{ epoch_us('events.end_ts') }} + intervals.sample_interval_ms * 1000 as to_us
    from {{ ref('voltage_events') }} as events
    inner join {{ ref('int_meter_intervals') }} as intervals
        on events.meter_id = intervals.meter_id
    inner join sites on events.pole_id = sites.pole_id
),

events_started as (
    select
        unit_id,
        start_day_ts as day_ts,
        {{ count_where("severity = 'minor'") }} as events_minor,
        {{ count_where("severity = 'major'") }} as events_major,
        {{ count_where("severity = 'critical'") }} as events_critical
    from events
    group by unit_id, start_day_ts
),

event_days as (
    {{ explode_range(
        'events', int_div('from_us', day_us), int_div('to_us - 1', day_us), 'day_number'
    ) }}
),

affected as (
    select
        unit_id,
        {{ timestamp_of_us('day_number * ' ~ day_us) }} as day_ts,
        count(distinct meter_id) as meters_with_event
    from event_days
    group by unit_id, day_number
),

joined as (
    select
        units.*,
        peaks.peak_kw,
        ratings.rated_kva,
        units.missing / nullif(cast(units.expected as {{ type_double() }}), 0) as missing_rate,
        sqrt(units.mean_kw * units.mean_kw + units.mean_kvar * units.mean_kvar)
        / nullif(ratings.rated_kva, 0) as loading,
        ten_minutes.intervals_out_of_limits
        / cast(ten_minutes.valid_intervals as {{ type_double() }}) as share_out_of_limits,
        coalesce(ten_minutes.valid_intervals, 0) as valid_intervals,
        coalesce(ten_minutes.intervals_out_of_limits, 0) as intervals_out_of_limits,
        coalesce(events_started.events_minor, 0) as events_minor,
        coalesce(events_started.events_major, 0) as events_major,
        coalesce(events_started.events_critical, 0) as events_critical,
        coalesce(affected.meters_with_event, 0) as meters_with_event
    from units
    left join ratings on units.unit_id = ratings.unit_id and units.day_ts = ratings.day_ts
    left join peaks on units.unit_id = peaks.unit_id and units.day_ts = peaks.day_ts
    left join ten_minutes
        on units.unit_id = ten_minutes.unit_id and units.day_ts = ten_minutes.day_ts
    left join events_started
        on units.unit_id = events_started.unit_id and units.day_ts = events_started.day_ts
    left join affected
        on units.unit_id = affected.unit_id and units.day_ts = affected.day_ts
),

parts as (
    select
        *,
        {{ health_parts() }}
    from joined
)
{%- endmacro -%}
