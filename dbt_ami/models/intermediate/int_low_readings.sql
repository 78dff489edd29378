{{ restated_by_window('int_touched_windows', 'event_ts') }}
select
    meter_id,
    epoch,
    seq,
    event_ts,
    pole_id,
    feeder_id,
    voltage_v,
    nominal_voltage_v,
    sample_interval_ms,
    {{ has_flag('quality_flags', 'last_gasp') }} as is_last_gasp
from {{ ref('readings') }}
where
    voltage_v < {{ sag_threshold_v('nominal_voltage_v') }}
    and is_received
    and {{ touched('event_ts', 'int_touched_windows') }}
