{{ restated_by_window('int_touched_slot_windows', 'slot_ts', ['pole_id']) }}
with slots as (
    select
        pole_id,
        slot_ts,
        sum(case when is_measured then power_kw end) as power_kw,
        {{ count_where('is_measured') }} as measured_meters,
        {{ count_where('in_service_s > 0') }} as meters_in_service,
        sum(least(covered_s, in_service_s)) as covered_s,
        sum(in_service_s) as in_service_s,
        sum(case when is_measured then least(covered_s, in_service_s) else 0 end)
            as measured_s,
        sum(covered_kwh) as covered_kwh,
        cast(sum(received_readings) as {{ dbt.type_bigint() }}) as readings,
        min(min_voltage_v) as min_voltage_v,
        sum(voltage_sum_v) / nullif(sum(received_readings), 0) as mean_voltage_v,
        max(max_voltage_v) as max_voltage_v
    from {{ ref('int_meter_5min') }}
    where {{ touched('slot_ts', 'int_touched_slot_windows') }}
    group by pole_id, slot_ts
)

select
    pole_id,
    slot_ts,
    power_kw,
    power_kw / 12 as kwh,
    covered_kwh,
    measured_meters,
    meters_in_service,
    covered_s / nullif(in_service_s, 0) as coverage,
    case
        when
            measured_meters = meters_in_service
            and measured_s >= {{ number_var('dr_min_coverage') }} * in_service_s
            then power_kw
    end as dr_power_kw,
    readings,
    min_voltage_v,
    mean_voltage_v,
    max_voltage_v
from slots
