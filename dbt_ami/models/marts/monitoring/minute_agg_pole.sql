{{ restated_by_window('int_touched_slot_windows', 'minute_ts', ['pole_id'], true) }}
-- A meter that was exchanged within the minute has two epochs in it.
with measured as (
    select
        meter_id,
        pole_id,
        minute_ts as slot_ts,
        cast(sum(received_readings) as {{ dbt.type_bigint() }}) as received_readings,
        sum(covered_s) as covered_s,
        sum(energy_kwh) as energy_kwh,
        min(min_voltage_v) as min_voltage_v,
        max(max_voltage_v) as max_voltage_v,
        sum(voltage_sum_v) as voltage_sum_v
    from {{ ref('int_meter_minutes') }}
    where {{ touched_minutes('int_touched_slot_windows') }}
    group by meter_id, pole_id, minute_ts
),

{{ in_service_slots('measured', 60) }},

joined as (
    select
        measured.min_voltage_v,
        measured.max_voltage_v,
        measured.voltage_sum_v,
        coalesce(measured.pole_id, in_service.pole_id) as pole_id,
        coalesce(measured.slot_ts, in_service.slot_ts) as minute_ts,
        coalesce(measured.received_readings, 0) as received_readings,
        coalesce(measured.covered_s, 0) as covered_s,
        coalesce(in_service.in_service_s, 0) as in_service_s,
        coalesce(measured.covered_s >= {{ number_var('power_min_coverage') }} * 60, false)
            as is_measured,
        measured.energy_kwh * 3600 / nullif(measured.covered_s, 0) as power_kw
    from measured
    full outer join in_service
        on
            measured.meter_id = in_service.meter_id
            and measured.pole_id = in_service.pole_id
            and measured.slot_ts = in_service.slot_ts
)

select
    pole_id,
    minute_ts,
    sum(voltage_sum_v) / nullif(sum(received_readings), 0) as mean_voltage_v,
    min(min_voltage_v) as min_voltage_v,
    max(max_voltage_v) as max_voltage_v,
    sum(case when is_measured then power_kw end) as power_kw,
    cast(sum(received_readings) as {{ dbt.type_bigint() }}) as readings,
    {{ count_where('received_readings > 0') }} as meters_reporting,
    {{ count_where('is_measured') }} as measured_meters,
    {{ count_where('in_service_s > 0') }} as meters_in_service,
    sum(least(covered_s, in_service_s)) / nullif(sum(in_service_s), 0) as coverage
from joined
group by pole_id, minute_ts
