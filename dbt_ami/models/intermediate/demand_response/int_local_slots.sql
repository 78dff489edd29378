{%- set day_us = 86400000000 -%}
with days_with_data as (
    select distinct {{ int_div(epoch_us('hour_ts'), day_us) }} as utc_day
    from {{ ref('int_meter_hour_parts') }}
    union distinct
    select distinct {{ int_div(epoch_us('slot_ts'), day_us) }} as utc_day
    from {{ ref('int_outage_slots') }}
),

-- A local day reaches over the UTC days beside it.
padded as (
    {{ explode_range('days_with_data', 'utc_day - 1', 'utc_day + 1', 'padded_day') }}
),

zone_days as (
    select distinct
        zones.time_zone,
        padded.padded_day
    from padded
    cross join {{ ref('int_pole_time_zones') }} as zones
),

slots as (
    {{ explode_range('zone_days', 'padded_day * 288', 'padded_day * 288 + 287', 'slot_number') }}
),

walls as (
    select
        time_zone,
        {{ timestamp_of_us('slot_number * 300000000') }} as slot_ts,
        {{ local_us(timestamp_of_us('slot_number * 300000000'), 'time_zone') }} as wall_us
    from slots
)

select
    time_zone,
    slot_ts,
    {{ int_div('wall_us', day_us) }} as day_number,
    {{ int_div('mod(wall_us, ' ~ day_us ~ ')', 300000000) }} as slot_of_day
from walls
