{{ config(partition_by=by_day('day_ts'), cluster_by=['pole_id', 'meter_id']) }}
{%- set day_us = 86400 * 1000000 -%}
with hours as (
    select
        meter_id,
        pole_id,
        {{ floor_time('hour_ts', 86400) }} as day_ts,
        max(transformer_id) as transformer_id,
        max(rated_kva) as rated_kva,
        max(nominal_voltage_v) as nominal_voltage_v,
        max(case when is_registered then 1 else 0 end) = 1 as is_registered,
        cast(sum(received) as {{ dbt.type_bigint() }}) as received,
        cast(sum(lost) as {{ dbt.type_bigint() }}) as lost,
        cast(sum(low_readings) as {{ dbt.type_bigint() }}) as low_readings,
        cast(sum(high_readings) as {{ dbt.type_bigint() }}) as high_readings,
        min(min_voltage_v) as min_voltage_v,
        max(max_voltage_v) as max_voltage_v,
        sum(voltage_sum_v) as voltage_sum_v,
        sum(voltage_square_sum_v2) as voltage_square_sum_v2,
        sum(covered_s) as covered_s,
        sum(energy_kwh) as energy_kwh,
        case
            when {{ count_where('covered_s > 0 and reactive_kvarh is null') }} = 0
                then sum(reactive_kvarh)
        end as reactive_kvarh
    from {{ ref('int_meter_hours') }}
    group by meter_id, pole_id, {{ floor_time('hour_ts', 86400) }}
),

service as (
    select
        meter_id,
        pole_id,
        sample_interval_ms,
        {{ epoch_us('expected_from') }} as from_us,
        {{ epoch_us('expected_to') }} as to_us
    from {{ ref('int_meter_service') }}
    where expected_from < expected_to
),

service_days as (
    {{ explode_range(
        'service', int_div('from_us', day_us), int_div('to_us - 1', day_us), 'day_number'
    ) }}
),

in_service as (
    select
        meter_id,
        pole_id,
        {{ timestamp_of_us('day_number * ' ~ day_us) }} as day_ts,
        cast(
            round(
                sum({{ overlap_us(
                    'from_us', 'to_us', 'day_number * ' ~ day_us, '(day_number + 1) * ' ~ day_us
                ) }})
                / cast(max(sample_interval_ms) * 1000 as {{ type_double() }})
            ) as {{ dbt.type_bigint() }}
        ) as expected
    from service_days
    group by meter_id, pole_id, day_number
),

joined as (
    select
        hours.*,
        in_service.meter_id is not null as is_in_service,
        coalesce(in_service.expected, 0) as expected,
        greatest(0, coalesce(in_service.expected, 0) - hours.received) as missing
    from hours
    left join in_service
        on
            hours.meter_id = in_service.meter_id
            and hours.pole_id = in_service.pole_id
            and hours.day_ts = in_service.day_ts
)

select
    meter_id,
    pole_id,
    day_ts,
    transformer_id,
    rated_kva,
    nominal_voltage_v,
    is_in_service,
    is_registered,
    expected,
    received,
    missing,
    low_readings,
    high_readings,
    min_voltage_v,
    max_voltage_v,
    voltage_sum_v,
    voltage_square_sum_v2,
    covered_s,
    energy_kwh,
    reactive_kvarh,
    least(lost, missing) as lost,
    missing - least(lost, missing) as not_sampled
from joined
