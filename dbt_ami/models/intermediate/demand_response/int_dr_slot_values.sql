{{ restated_by_window('int_estimated_windows', 'day_ts', ['pole_id']) }}
{%- set day_ts = timestamp_of_us('local_slots.day_number * 86400000000') %}
-- An event, its rebound and an outage say nothing about ordinary use: such slots are no candidates.
with outages as (
    select distinct
        pole_id,
        slot_ts
    from {{ ref('int_outage_slots') }}
)

select
    poles.pole_id,
    local_slots.day_number,
    {{ day_ts }} as day_ts,
    local_slots.slot_of_day,
    avg(poles.dr_power_kw) as kw
from {{ ref('v_5min_pole') }} as poles
inner join {{ ref('int_pole_time_zones') }} as zones on poles.pole_id = zones.pole_id
inner join {{ ref('int_local_slots') }} as local_slots
    on zones.time_zone = local_slots.time_zone and poles.slot_ts = local_slots.slot_ts
left join outages on poles.pole_id = outages.pole_id and poles.slot_ts = outages.slot_ts
left join {{ ref('int_event_slots') }} as event_slots
    on poles.pole_id = event_slots.pole_id and poles.slot_ts = event_slots.slot_ts
where
    poles.dr_power_kw is not null
    and outages.pole_id is null
    and event_slots.pole_id is null
    and {{ touched('poles.slot_ts', 'int_estimated_windows', margin_s=86400) }}
    and {{ touched(day_ts, 'int_estimated_windows') }}
group by poles.pole_id, local_slots.day_number, local_slots.slot_of_day
