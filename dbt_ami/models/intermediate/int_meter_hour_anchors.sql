{{ restated_by_window('int_interval_windows', 'hour_ts') }}
with anchored as (
    select
        readings.meter_id,
        {{ floor_time('readings.event_ts', 3600) }} as hour_ts,
        intervals.sample_interval_ms,
        {{ epoch_us('readings.event_ts') }}
        - {{ samples_us('readings.seq', 'intervals.sample_interval_ms') }} as anchor_us
    from {{ ref('stg_readings') }} as readings
    inner join {{ ref('int_meter_intervals') }} as intervals
        on readings.meter_id = intervals.meter_id
    where {{ touched('readings.event_ts', 'int_interval_windows') }}
)

select
    anchored.meter_id,
    anchored.hour_ts,
    max(anchored.sample_interval_ms) as sample_interval_ms,
    max(anchored.anchor_us) - min(anchored.anchor_us) as anchor_range_us,
    max(edges.clock_resets) > 0
    or max(anchored.anchor_us) - min(anchored.anchor_us)
    > greatest({{ us_var('epoch_min_jump_s') }}, 2000 * max(anchored.sample_interval_ms))
        as is_restless
from anchored
inner join {{ ref('int_meter_hour_edges') }} as edges
    on anchored.meter_id = edges.meter_id and anchored.hour_ts = edges.hour_ts
group by anchored.meter_id, anchored.hour_ts
