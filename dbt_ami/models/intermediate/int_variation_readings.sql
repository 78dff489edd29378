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
    case
        when {{ below_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_sag_leave_pu') }} then 'low'
        when {{ above_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_swell_leave_pu') }} then 'high'
        else 'normal'
    end as side,
    {{ below_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_sag_pu') }}
    or {{ above_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_swell_pu') }} as enters,
    {{ has_flag('quality_flags', 'last_gasp') }} as is_last_gasp
from {{ ref('readings') }}
where
    is_received
    and {{ touched('event_ts', 'int_touched_windows') }}
    and (
        {{ below_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_sag_leave_pu') }}
        or {{ above_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_swell_leave_pu') }}
        or {{ has_flag('quality_flags', 'last_gasp') }}
    )
