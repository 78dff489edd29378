{{ restated_by_window('int_touched_windows', 'minute_ts', ['meter_id']) }}
with minutes as (
    select
        meter_id,
        minute_ts,
        {{ floor_time('minute_ts', 3600) }} as hour_ts,
        max(sample_interval_ms) as sample_interval_ms,
        max(last_received_ts) as last_received_ts,
        max(
            case
                when
                    {{ below_pu(
                        'max_voltage_v', 'nominal_voltage_v', 'ieee1159_interruption_pu'
                    ) }}
                    then 0
                else 1
            end
        ) = 1 as is_powered
    from {{ ref('int_meter_minutes') }}
    where received_readings > 0 and {{ touched('minute_ts', 'int_touched_windows') }}
    group by meter_id, minute_ts
),

gasp_hours as (
    select distinct
        meter_id,
        {{ floor_time('event_ts', 3600) }} as hour_ts
    from {{ ref('int_variation_readings') }}
    where is_last_gasp and {{ touched('event_ts', 'int_touched_windows') }}
),

steps as (
    select
        *,
        lag(last_received_ts) over in_order as previous_in_hour_ts,
        max(last_received_ts) over of_hour as hour_last_received_ts,
        min(case when is_powered then minute_ts end) over of_hour as first_powered_minute_ts
    from minutes
    window
        in_order as (
            partition by meter_id, hour_ts
            order by minute_ts
        ),
        of_hour as (partition by meter_id, hour_ts)
)

select
    steps.meter_id,
    steps.minute_ts,
    steps.sample_interval_ms,
    steps.is_powered,
    steps.previous_in_hour_ts,
    steps.hour_last_received_ts
from steps
left join gasp_hours
    on steps.meter_id = gasp_hours.meter_id and steps.hour_ts = gasp_hours.hour_ts
where
    gasp_hours.meter_id is not null
    or steps.previous_in_hour_ts is null
    or steps.minute_ts = steps.first_powered_minute_ts
    or {{ epoch_us('steps.minute_ts') }} + 60000000
    - ({{ epoch_us('steps.previous_in_hour_ts') }} + steps.sample_interval_ms * 1000)
    > {{ silence_limit_us('steps.sample_interval_ms') }}
