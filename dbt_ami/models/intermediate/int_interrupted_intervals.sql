{{ restated_by_window('int_touched_slot_windows', 'interval_ts') }}
select
    meter_id,
    {{ floor_time('minute_ts', 600) }} as interval_ts,
    min(min_voltage_v / nominal_voltage_v) as min_voltage_pu
from {{ ref('int_meter_minutes') }}
where {{ touched_minutes('int_touched_slot_windows') }}
group by meter_id, {{ floor_time('minute_ts', 600) }}
having
    min(min_voltage_v / nominal_voltage_v) < {{ number_var('ieee1159_interruption_pu') }}
