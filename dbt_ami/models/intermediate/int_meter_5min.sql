{{ restated_by_window('int_touched_slot_windows', 'slot_ts', ['pole_id', 'meter_id']) }}
with measured as (
    select
        meter_id,
        pole_id,
        {{ floor_time('minute_ts', 300) }} as slot_ts,
        cast(sum(received_readings) as {{ dbt.type_bigint() }}) as received_readings,
        sum(covered_s) as covered_s,
        sum(energy_kwh) as energy_kwh,
        min(min_voltage_v) as min_voltage_v,
        max(max_voltage_v) as max_voltage_v,
        sum(voltage_sum_v) as voltage_sum_v
    from {{ ref('int_meter_minutes') }}
    where {{ touched_minutes('int_touched_slot_windows') }}
    group by meter_id, pole_id, {{ floor_time('minute_ts', 300) }}
),

{{ in_service_slots('measured', 300) }},

joined as (
    select
        measured.min_voltage_v,
        measured.max_voltage_v,
        measured.voltage_sum_v,
        coalesce(measured.meter_id, in_service.meter_id) as meter_id,
        coalesce(measured.pole_id, in_service.pole_id) as pole_id,
        coalesce(measured.slot_ts, in_service.slot_ts) as slot_ts,
        coalesce(measured.received_readings, 0) as received_readings,
        coalesce(measured.covered_s, 0) as covered_s,
        coalesce(in_service.in_service_s, 0) as in_service_s,
        coalesce(measured.energy_kwh, 0) as covered_kwh,
        measured.energy_kwh * 3600 / nullif(measured.covered_s, 0) as power_kw
    from measured
    full outer join in_service
        on
            measured.meter_id = in_service.meter_id
            and measured.pole_id = in_service.pole_id
            and measured.slot_ts = in_service.slot_ts
)

select
    meter_id,
    pole_id,
    slot_ts,
    received_readings,
    covered_s,
    in_service_s,
    least(covered_s, in_service_s) / nullif(in_service_s, 0) as coverage,
    coalesce(
        covered_s >= {{ number_var('power_min_coverage') }} * nullif(in_service_s, 0), false
    ) as is_measured,
    power_kw,
    covered_kwh,
    min_voltage_v,
    max_voltage_v,
    voltage_sum_v
from joined
