{{ restated_by_window('int_estimated_windows', 'slot_ts', ['pole_id']) }}
with validated as (
    select
        pole_id,
        slot_ts,
        sum(power_kw) as power_kw,
        {{ count_where("status = 'measured'") }} as measured_meters,
        {{ count_where("status = 'estimated'") }} as estimated_meters,
        {{ count_where("status = 'missing' and in_service_s > 0") }} as missing_meters,
        {{ count_where('in_service_s > 0') }} as meters_in_service,
        sum(in_service_s) as in_service_s,
        sum(case when status = 'measured' then coverage * in_service_s else 0 end)
            as measured_s
    from {{ ref('validated_5min') }}
    where {{ touched('slot_ts', 'int_estimated_windows') }}
    group by pole_id, slot_ts
),

read as (
    select
        pole_id,
        slot_ts,
        sum(least(covered_s, in_service_s)) as covered_s,
        sum(covered_kwh) as covered_kwh,
        cast(sum(received_readings) as {{ dbt.type_bigint() }}) as readings,
        min(min_voltage_v) as min_voltage_v,
        sum(voltage_sum_v) / nullif(sum(received_readings), 0) as mean_voltage_v,
        max(max_voltage_v) as max_voltage_v
    from {{ ref('int_meter_5min') }}
    where {{ touched('slot_ts', 'int_estimated_windows') }}
    group by pole_id, slot_ts
)

select
    validated.pole_id,
    validated.slot_ts,
    validated.power_kw,
    validated.power_kw / 12 as kwh,
    coalesce(read.covered_kwh, 0) as covered_kwh,
    validated.measured_meters,
    validated.estimated_meters,
    validated.missing_meters,
    validated.meters_in_service,
    coalesce(read.covered_s, 0) / nullif(validated.in_service_s, 0) as coverage,
    validated.measured_s / nullif(validated.in_service_s, 0) as measured_coverage,
    case
        when
            validated.missing_meters = 0
            and validated.measured_s
            >= {{ number_var('dr_min_coverage') }} * validated.in_service_s
            then validated.power_kw
    end as dr_power_kw,
    coalesce(read.readings, 0) as readings,
    read.min_voltage_v,
    read.mean_voltage_v,
    read.max_voltage_v
from validated
left join read
    on validated.pole_id = read.pole_id and validated.slot_ts = read.slot_ts
