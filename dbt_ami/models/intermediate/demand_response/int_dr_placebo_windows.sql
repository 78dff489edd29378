{%- set first_slot, last_slot = dr_default_slots() -%}
with pole_events as (
    select
        events.event_id as reference_id,
        events.pole_id,
        zones.time_zone,
        events.day_number,
        {{ local_us('events.start_ts', 'zones.time_zone') }} as start_wall_us,
        {{ local_us(
            timestamp_of_us(epoch_us('events.end_ts') ~ ' - 300000000'), 'zones.time_zone'
        ) }} as last_wall_us
    from {{ ref('int_dr_event_poles') }} as events
    inner join {{ ref('int_pole_time_zones') }} as zones on events.pole_id = zones.pole_id
),

event_references as (
    select
        pole_events.reference_id,
        pole_events.pole_id,
        pole_events.time_zone,
        pole_events.day_number,
        {{ day_type('pole_events.day_number', '(holidays.time_zone is not null)') }}
            as day_type,
        {{ int_div('mod(pole_events.start_wall_us, 86400000000)', 300000000) }} as first_slot,
        {{ int_div('pole_events.last_wall_us', 86400000000) }} - pole_events.day_number
            as last_day_offset,
        {{ int_div('mod(pole_events.last_wall_us, 86400000000)', 300000000) }} as last_slot
    from pole_events
    left join {{ ref('int_zone_holidays') }} as holidays
        on
            pole_events.time_zone = holidays.time_zone
            and pole_events.day_number = holidays.day_number
),

-- What accuracy the next event of the usual window may expect.
default_references as (
    select
        'default_window' as reference_id,
        pole_id,
        max(time_zone) as time_zone,
        max(day_number) + 1 as day_number,
        'W' as day_type,
        {{ first_slot }} as first_slot,
        0 as last_day_offset,
        {{ last_slot }} as last_slot
    from {{ ref('int_pole_days') }}
    group by pole_id
),

all_references as (
    select *
    from event_references
    union all
    select *
    from default_references
),

placebo_days as (
    select
        all_references.*,
        pole_days.day_number as placebo_day_number
    from all_references
    inner join {{ ref('int_pole_days') }} as pole_days
        on
            all_references.pole_id = pole_days.pole_id
            and all_references.day_type = pole_days.day_type
            and pole_days.day_number < all_references.day_number
            and all_references.day_number - {{ var('dr_accuracy_days') }} <= pole_days.day_number
    where not pole_days.is_event_day
),

placements as (
    select
        placebo_days.reference_id,
        placebo_days.pole_id,
        placebo_days.day_type,
        placebo_days.placebo_day_number,
        min(first_slots.slot_ts) as start_ts,
        {{ timestamp_of_us(epoch_us('max(last_slots.slot_ts)') ~ ' + 300000000') }} as end_ts
    from placebo_days
    inner join {{ ref('int_local_slots') }} as first_slots
        on
            placebo_days.time_zone = first_slots.time_zone
            and placebo_days.placebo_day_number = first_slots.day_number
            and placebo_days.first_slot = first_slots.slot_of_day
    inner join {{ ref('int_local_slots') }} as last_slots
        on
            placebo_days.time_zone = last_slots.time_zone
            and placebo_days.placebo_day_number + placebo_days.last_day_offset
            = last_slots.day_number
            and placebo_days.last_slot = last_slots.slot_of_day
    group by
        placebo_days.reference_id,
        placebo_days.pole_id,
        placebo_days.day_type,
        placebo_days.placebo_day_number
)

select
    placements.reference_id,
    placements.pole_id,
    placements.day_type,
    {{ joined_text([epoch_us('placements.start_ts'), epoch_us('placements.end_ts')]) }}
        as window_id,
    {{ date_of_day_number('placements.placebo_day_number') }} as local_day,
    placements.start_ts,
    placements.end_ts
from placements
left join {{ ref('int_dr_event_poles') }} as events
    on
        placements.pole_id = events.pole_id
        and placements.start_ts < events.rebound_end_ts
        and events.start_ts < placements.end_ts
where events.event_id is null
