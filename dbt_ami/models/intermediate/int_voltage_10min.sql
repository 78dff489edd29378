{{ restated_by_window('int_touched_slot_windows', 'interval_ts', ['pole_id', 'meter_id']) }}
with intervals as (
    select
        meter_id,
        pole_id,
        {{ floor_time('minute_ts', 600) }} as interval_ts,
        max(nominal_voltage_v) as nominal_voltage_v,
        max(sample_interval_ms) as sample_interval_ms,
        cast(sum(received_readings) as {{ dbt.type_bigint() }}) as received_readings,
        sqrt(sum(voltage_square_sum_v2) / sum(received_readings)) as rms_voltage_v
    from {{ ref('int_meter_minutes') }}
    where received_readings > 0 and {{ touched_minutes('int_touched_slot_windows') }}
    group by meter_id, pole_id, {{ floor_time('minute_ts', 600) }}
)

select
    meter_id,
    pole_id,
    interval_ts,
    nominal_voltage_v,
    received_readings,
    rms_voltage_v,
    sample_interval_ms * 1000 <= {{ us_var('rms_10min_max_interval_s') }} as is_assessable,
    sample_interval_ms * 1000 <= {{ us_var('rms_10min_max_interval_s') }}
    and received_readings * sample_interval_ms
    >= {{ number_var('rms_10min_min_coverage') }} * 600000 as is_valid,
    {{ within_voltage_limits('rms_voltage_v', 'nominal_voltage_v') }} as is_within_limits
from intervals
