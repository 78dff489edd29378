{{ restated_by_window('int_interval_windows', 'event_ts') }}
select
    readings.meter_id,
    readings.event_ts,
    readings.seq,
    {{ has_flag('readings.quality_flags', 'clock_reset') }} as is_clock_reset
from {{ ref('stg_readings') }} as readings
inner join {{ ref('int_meter_hour_anchors') }} as anchors
    on
        readings.meter_id = anchors.meter_id
        and {{ floor_time('readings.event_ts', 3600) }} = anchors.hour_ts
where
    anchors.is_restless
    and {{ touched('readings.event_ts', 'int_interval_windows') }}
