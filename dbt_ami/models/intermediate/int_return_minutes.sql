-- A silence over the start of an hour began with the last reading of an hour before.
with steps as (
    select
        minutes.meter_id,
        minutes.minute_ts,
        minutes.sample_interval_ms,
        coalesce(
            {{ epoch_us('minutes.previous_in_hour_ts') }} + minutes.sample_interval_ms * 1000,
            {{ epoch_us('lag(minutes.hour_last_received_ts) over in_order') }}
            + minutes.sample_interval_ms * 1000,
            {{ epoch_us('lake.oldest_event_ts') }}
        ) as silent_from_us,
        min(case when minutes.is_powered then minutes.minute_ts end) over (
            partition by minutes.meter_id
            order by minutes.minute_ts
            rows between 1 following and unbounded following
        ) as next_powered_minute_ts
    from {{ ref('int_meter_step_minutes') }} as minutes
    cross join {{ ref('int_lake_range') }} as lake
    window in_order as (
        partition by minutes.meter_id
        order by minutes.minute_ts
    )
),

gasp_minutes as (
    select distinct
        meter_id,
        {{ floor_time('event_ts', 60) }} as minute_ts
    from {{ ref('int_variation_readings') }}
    where is_last_gasp
),

wanted as (
    select
        meter_id,
        minute_ts
    from gasp_minutes
    union distinct
    select
        steps.meter_id,
        steps.next_powered_minute_ts as minute_ts
    from steps
    inner join gasp_minutes
        on steps.meter_id = gasp_minutes.meter_id and steps.minute_ts = gasp_minutes.minute_ts
    where steps.next_powered_minute_ts is not null
    union distinct
    select
        meter_id,
        minute_ts
    from steps
    where
        {{ epoch_us('minute_ts') }} + 60000000 - silent_from_us
        > {{ silence_limit_us('sample_interval_ms') }}
)

select
    wanted.meter_id,
    wanted.minute_ts,
    {{ timestamp_of_us('steps.silent_from_us') }} as silent_from_ts
from wanted
inner join steps
    on wanted.meter_id = steps.meter_id and wanted.minute_ts = steps.minute_ts
