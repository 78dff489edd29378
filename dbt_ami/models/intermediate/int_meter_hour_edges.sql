{{ restated_by_window('int_landed_windows', 'hour_ts') }}
select
    meter_id,
    {{ floor_time('event_ts', 3600) }} as hour_ts,
    max(pole_id) as pole_id,
    count(*) as stored_readings,
    min(event_ts) as first_event_ts,
    max(event_ts) as last_event_ts,
    min_by(seq, event_ts) as first_seq,
    max_by(seq, event_ts) as last_seq,
    min(seq) as min_seq,
    max(seq) as max_seq,
    {{ count_where(has_flag('quality_flags', 'clock_reset')) }} as clock_resets
from {{ ref('stg_readings') }}
where {{ touched('event_ts', 'int_landed_windows') }}
group by meter_id, {{ floor_time('event_ts', 3600) }}
