{{ restated_by_window('int_touched_slot_windows', 'hour_ts', ['pole_id', 'meter_id']) }}
select
    meter_id,
    pole_id,
    epoch,
    {{ floor_time('minute_ts', 3600) }} as hour_ts,
    max(nominal_voltage_v) as nominal_voltage_v,
    max(sample_interval_ms) as sample_interval_ms,
    min(min_seq) as min_seq,
    max(max_seq) as max_seq,
    max(last_event_ts) as last_event_ts,
    min(first_received_ts) as first_received_ts,
    max(last_received_ts) as last_received_ts,
    min(first_powered_ts) as first_powered_ts,
    cast(sum(stored_readings) as {{ dbt.type_bigint() }}) as stored_readings,
    cast(sum(received_readings) as {{ dbt.type_bigint() }}) as received_readings,
    cast(sum(low_readings) as {{ dbt.type_bigint() }}) as low_readings,
    cast(sum(high_readings) as {{ dbt.type_bigint() }}) as high_readings,
    min(min_voltage_v) as min_voltage_v,
    max(max_voltage_v) as max_voltage_v,
    sum(voltage_sum_v) as voltage_sum_v,
    sum(voltage_square_sum_v2) as voltage_square_sum_v2,
    sum(covered_s) as covered_s,
    sum(energy_kwh) as energy_kwh,
    sum(reactive_kvarh) as reactive_kvarh,
    cast(sum(pieces_without_reactive) as {{ dbt.type_bigint() }}) as pieces_without_reactive
from {{ ref('int_meter_minutes') }}
where {{ touched_minutes('int_touched_slot_windows') }}
group by meter_id, pole_id, epoch, {{ floor_time('minute_ts', 3600) }}
