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
group by poles.pole_id, local_slots.day_number, local_slots.slot_of_day
