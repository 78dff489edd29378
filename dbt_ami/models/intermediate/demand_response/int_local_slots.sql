{%- set day_us = 86400000000 -%}
with days_with_data as (
    select distinct
        pole_id,
        {{ int_div(epoch_us('slot_ts'), day_us) }} as utc_day
    from {{ ref('int_meter_5min') }}
    union distinct
    select distinct
        pole_id,
        {{ int_div(epoch_us('slot_ts'), day_us) }} as utc_day
    from {{ ref('int_outage_slots') }}
),

zone_days as (
    select distinct
        zones.time_zone,
        days_with_data.utc_day
    from days_with_data
    inner join {{ ref('int_pole_time_zones') }} as zones
        on days_with_data.pole_id = zones.pole_id
),

-- A local day reaches over the UTC days beside it.
padded as (
    {{ explode_range('zone_days', 'utc_day - 1', 'utc_day + 1', 'padded_day') }}
),

covered_days as (
    select distinct
        time_zone,
        padded_day
    from padded
),

slots as (
    {{ explode_range('covered_days', 'padded_day * 288', 'padded_day * 288 + 287', 'slot_number') }}
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
