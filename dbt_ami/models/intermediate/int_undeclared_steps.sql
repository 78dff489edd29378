{{ restated_by_window('int_step_windows', 'hour_ts') }}
with steps as (
    select
        readings.meter_id,
        {{ floor_time('readings.event_ts', 3600) }} as hour_ts,
        {{ epoch_us('readings.event_ts') }}
        - lag({{ epoch_us('readings.event_ts') }}) over in_order as step_us,
        readings.seq - lag(readings.seq) over in_order as seq_step
    from {{ ref('stg_readings') }} as readings
    left join {{ ref('stg_meters') }} as declared
        on
            readings.meter_id = declared.meter_id
            and declared.sample_interval_ms is not null
    where
        declared.meter_id is null
        and {{ touched('readings.event_ts', 'int_step_windows') }}
    window in_order as (
        partition by readings.meter_id, {{ floor_time('readings.event_ts', 3600) }}
        order by readings.event_ts, readings.seq
    )
)

select
    meter_id,
    hour_ts,
    step_us,
    count(*) as steps
from steps
where seq_step = 1 and step_us > 0
group by meter_id, hour_ts, step_us
