{{ config(severity='warn') }}
-- A list is known when its poles, found by name, make up its whole length.
select
    events.event_id,
    events.pole_ids
from {{ ref('dr_events') }} as events
left join {{ ref('int_dr_event_poles') }} as poles on events.event_id = poles.event_id
where events.pole_ids != 'all'
group by events.event_id, events.pole_ids
having
    coalesce(sum(length(poles.pole_id) + 1), 0)
    != length(replace(events.pole_ids, ' ', '')) + 1
