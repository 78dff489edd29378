{%- set hour_us = 3600 * 1000000 -%}
with measured as (
    select
        meter_id,
        pole_id,
        hour_ts,
        max(nominal_voltage_v) as nominal_voltage_v,
        cast(sum(received_readings) as {{ dbt.type_bigint() }}) as received,
        cast(sum(low_readings) as {{ dbt.type_bigint() }}) as low_readings,
        cast(sum(high_readings) as {{ dbt.type_bigint() }}) as high_readings,
        min(min_voltage_v) as min_voltage_v,
        max(max_voltage_v) as max_voltage_v,
        sum(voltage_sum_v) as voltage_sum_v,
        sum(voltage_square_sum_v2) as voltage_square_sum_v2,
        sum(covered_s) as covered_s,
        sum(energy_kwh) as energy_kwh,
        sum(reactive_kvarh) as reactive_kvarh,
        sum(pieces_without_reactive) > 0 as lacks_reactive
    from {{ ref('int_meter_hour_parts') }}
    group by meter_id, pole_id, hour_ts
),

neighbours as (
    select
        meter_id,
        pole_id,
        hour_ts,
        sample_interval_ms,
        max_seq - min_seq + 1 - stored_readings as hole_within,
        min_seq - 1 - lag(max_seq) over in_order as hole_before,
        {{ epoch_us('lag(last_event_ts) over in_order') }} as before_us
    from {{ ref('int_meter_hour_parts') }}
    where stored_readings > 0
    window in_order as (
        partition by meter_id, epoch
        order by hour_ts, min_seq
    )
),

-- A hole that reaches over hours is shared out: each lost sample belongs to the hour in which it
-- would have been taken.
holes as (
    select
        meter_id,
        pole_id,
        sample_interval_ms,
        hole_before,
        before_us,
        -- No further than the hour of the next reading, however far `seq` jumped.
        cast(
            least(
                {{ samples_us('hole_before', 'sample_interval_ms') }},
                {{ epoch_us('hour_ts') }} + {{ hour_us }} - 1 - before_us
            ) as {{ dbt.type_bigint() }}
        ) as hole_us
    from neighbours
    where hole_before > 0
),

hole_hours as (
    {{ explode_range(
        'holes',
        int_div('before_us + sample_interval_ms * 1000', hour_us),
        int_div('before_us + hole_us', hour_us),
        'hour_number'
    ) }}
),

lost_parts as (
    select
        meter_id,
        pole_id,
        hour_ts,
        hole_within as lost
    from neighbours
    where hole_within > 0
    union all
    select
        meter_id,
        pole_id,
        {{ timestamp_of_us('hour_number * ' ~ hour_us) }} as hour_ts,
        {{ samples_before(
            '(hour_number + 1) * ' ~ hour_us, 'before_us', 'hole_before', 'sample_interval_ms'
        ) }}
        - {{ samples_before(
            'hour_number * ' ~ hour_us, 'before_us', 'hole_before', 'sample_interval_ms'
        ) }} as lost
    from hole_hours
),

lost as (
    select
        meter_id,
        pole_id,
        hour_ts,
        cast(sum(lost) as {{ dbt.type_bigint() }}) as lost
    from lost_parts
    group by meter_id, pole_id, hour_ts
),

service as (
    select
        meter_id,
        pole_id,
        transformer_id,
        rated_kva,
        is_registered,
        nominal_voltage_v,
        sample_interval_ms,
        {{ epoch_us('expected_from') }} as from_us,
        {{ epoch_us('expected_to') }} as to_us
    from {{ ref('int_meter_service') }}
    where expected_from < expected_to
),

service_hours as (
    {{ explode_range(
        'service', int_div('from_us', hour_us), int_div('to_us - 1', hour_us), 'hour_number'
    ) }}
),

service_spans as (
    select
        *,
        {{ overlap_us(
            'from_us', 'to_us', 'hour_number * ' ~ hour_us, '(hour_number + 1) * ' ~ hour_us
        ) }} as in_service_us
    from service_hours
),

in_service as (
    select
        meter_id,
        pole_id,
        {{ timestamp_of_us('hour_number * ' ~ hour_us) }} as hour_ts,
        max(transformer_id) as transformer_id,
        max(rated_kva) as rated_kva,
        max(nominal_voltage_v) as nominal_voltage_v,
        max(case when is_registered then 1 else 0 end) = 1 as is_registered,
        cast(
            round(
                sum(in_service_us)
                / cast(max(sample_interval_ms) * 1000 as {{ type_double() }})
            ) as {{ dbt.type_bigint() }}
        ) as expected
    from service_spans
    group by meter_id, pole_id, hour_number
),

joined as (
    select
        in_service.transformer_id,
        in_service.rated_kva,
        measured.min_voltage_v,
        measured.max_voltage_v,
        measured.voltage_sum_v,
        measured.voltage_square_sum_v2,
        coalesce(measured.meter_id, in_service.meter_id) as meter_id,
        coalesce(measured.pole_id, in_service.pole_id) as pole_id,
        coalesce(measured.hour_ts, in_service.hour_ts) as hour_ts,
        in_service.meter_id is not null as is_in_service,
        coalesce(in_service.is_registered, false) as is_registered,
        coalesce(measured.nominal_voltage_v, in_service.nominal_voltage_v)
            as nominal_voltage_v,
        coalesce(in_service.expected, 0) as expected,
        coalesce(measured.received, 0) as received,
        coalesce(measured.low_readings, 0) as low_readings,
        coalesce(measured.high_readings, 0) as high_readings,
        coalesce(measured.covered_s, 0) as covered_s,
        coalesce(measured.energy_kwh, 0) as energy_kwh,
        case when not measured.lacks_reactive then measured.reactive_kvarh end
            as reactive_kvarh
    from measured
    full outer join in_service
        on
            measured.meter_id = in_service.meter_id
            and measured.pole_id = in_service.pole_id
            and measured.hour_ts = in_service.hour_ts
)

select
    joined.meter_id,
    joined.pole_id,
    joined.hour_ts,
    joined.transformer_id,
    joined.rated_kva,
    joined.nominal_voltage_v,
    joined.is_in_service,
    joined.is_registered,
    joined.expected,
    joined.received,
    joined.low_readings,
    joined.high_readings,
    joined.min_voltage_v,
    joined.max_voltage_v,
    joined.voltage_sum_v,
    joined.voltage_square_sum_v2,
    joined.covered_s,
    joined.energy_kwh,
    joined.reactive_kvarh,
    greatest(0, joined.expected - joined.received) as missing,
    least(coalesce(lost.lost, 0), greatest(0, joined.expected - joined.received)) as lost,
    greatest(0, joined.expected - joined.received)
    - least(coalesce(lost.lost, 0), greatest(0, joined.expected - joined.received))
        as not_sampled
from joined
left join lost
    on
        joined.meter_id = lost.meter_id
        and joined.pole_id = lost.pole_id
        and joined.hour_ts = lost.hour_ts
