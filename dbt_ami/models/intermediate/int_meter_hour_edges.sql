with anchored as (
    select
        readings.meter_id,
        readings.pole_id,
        readings.event_ts,
        readings.seq,
        {{ floor_time('readings.event_ts', 3600) }} as hour_ts,
        {{ epoch_us('readings.event_ts') }}
        - {{ samples_us('readings.seq', 'intervals.sample_interval_ms') }} as anchor_us,
        {{ has_flag('readings.quality_flags', 'clock_reset') }} as is_clock_reset
    from {{ ref('stg_readings') }} as readings
    inner join {{ ref('int_meter_intervals') }} as intervals
        on readings.meter_id = intervals.meter_id
)

select
    meter_id,
    hour_ts,
    max(pole_id) as pole_id,
    count(*) as stored_readings,
    min(event_ts) as first_event_ts,
    max(event_ts) as last_event_ts,
    min_by(seq, event_ts) as first_seq,
    max_by(seq, event_ts) as last_seq,
    min(seq) as min_seq,
    max(seq) as max_seq,
    max(anchor_us) - min(anchor_us) as anchor_range_us,
    {{ count_where('is_clock_reset') }} as clock_resets
from anchored
group by meter_id, hour_ts
