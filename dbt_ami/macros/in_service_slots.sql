{#-
  CTEs `pole_hours`, `pole_slots`, `service_spans` and `in_service`: the seconds that each meter is
  in service (`in_service_s`, up to the watermark) in each slot of `slot_s` seconds (a divisor of
  3600), in the hours in which its pole shows in the CTE `measured` (pole_id, slot_ts). Only slots
  with any service.
-#}
{%- macro in_service_slots(measured, slot_s) -%}
{%- set slot_us = slot_s * 1000000 -%}
{%- set per_hour = 3600 // slot_s -%}
pole_hours as (
    select distinct
        pole_id,
        {{ int_div(epoch_us('slot_ts'), per_hour * slot_us) }} as hour_number
    from {{ measured }}
),

pole_slots as (
    {{ explode_range(
        'pole_hours',
        'hour_number * ' ~ per_hour,
        'hour_number * ' ~ per_hour ~ ' + ' ~ (per_hour - 1),
        'slot_number'
    ) }}
),

service_spans as (
    select
        service.meter_id,
        service.pole_id,
        pole_slots.slot_number,
        {{ overlap_us(
            epoch_us('service.expected_from'),
            epoch_us('service.expected_to'),
            'pole_slots.slot_number * ' ~ slot_us,
            '(pole_slots.slot_number + 1) * ' ~ slot_us
        ) }} as in_service_us
    from pole_slots
    inner join {{ ref('int_meter_service') }} as service
        on
            pole_slots.pole_id = service.pole_id
            and {{ epoch_us('service.expected_from') }}
            < (pole_slots.slot_number + 1) * {{ slot_us }}
            and pole_slots.slot_number * {{ slot_us }} < {{ epoch_us('service.expected_to') }}
),

in_service as (
    select
        meter_id,
        pole_id,
        {{ timestamp_of_us('slot_number * ' ~ slot_us) }} as slot_ts,
        sum(in_service_us) / cast(1000000 as {{ type_double() }}) as in_service_s
    from service_spans
    where in_service_us > 0
    group by meter_id, pole_id, slot_number
)
{%- endmacro -%}
