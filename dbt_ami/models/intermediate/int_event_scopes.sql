select
    members.meter_id,
    members.epoch,
    members.first_seq,
    event_groups.scope
from {{ ref('int_pole_event_members') }} as members
inner join {{ ref('int_pole_event_groups') }} as event_groups
    on members.pole_event_id = event_groups.pole_event_id
