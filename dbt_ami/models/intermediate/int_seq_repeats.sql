{{ restated_by_window('int_interval_windows', 'event_ts') }}
select
    readings.meter_id,
    readings.seq,
    readings.event_ts
from {{ ref('stg_readings') }} as readings
inner join {{ ref('int_meter_hour_anchors') }} as anchors
    on
        readings.meter_id = anchors.meter_id
        and {{ floor_time('readings.event_ts', 3600) }} = anchors.hour_ts
where
    -- Readings of one seq with different event_ts have different anchors.
    anchors.anchor_range_us > 0
    and {{ touched('readings.event_ts', 'int_interval_windows') }}
qualify
    count(*) over (
        partition by readings.meter_id, readings.seq, {{ floor_time('readings.event_ts', 3600) }}
    ) > 1
