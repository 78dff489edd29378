{{ config(partition_by=by_day('start_ts'), cluster_by=['pole_id']) }}
with extents as (
    select
        members.pole_event_id,
        max(events.end_ts) as end_ts,
        max({{ epoch_us('events.end_ts') }} + members.sample_interval_ms * 1000) as until_us,
        count(*) as event_count,
        min(events.min_voltage_v) as min_voltage_v,
        min(events.min_voltage_pu) as min_voltage_pu,
        max_by(events.severity, {{ severity_rank('events.severity') }}) as severity,
        max(case when events.is_open then 1 else 0 end) = 1 as is_open
    from {{ ref('int_pole_event_members') }} as members
    inner join {{ ref('voltage_events') }} as events
        on members.meter_id = events.meter_id and members.start_ts = events.start_ts
    group by members.pole_event_id
)

select
    event_groups.pole_event_id,
    event_groups.pole_id,
    event_groups.feeder_id,
    event_groups.feeder_event_id,
    event_groups.scope,
    event_groups.start_ts,
    extents.end_ts,
    (extents.until_us - {{ epoch_us('event_groups.start_ts') }})
    / cast(1000000 as {{ type_double() }}) as duration_s,
    extents.event_count,
    event_groups.meters_affected,
    event_groups.meters_reporting,
    event_groups.meters_affected / cast(event_groups.meters_reporting as {{ type_double() }})
        as share_affected,
    extents.min_voltage_v,
    extents.min_voltage_pu,
    extents.severity,
    extents.is_open
from {{ ref('int_pole_event_groups') }} as event_groups
inner join extents on event_groups.pole_event_id = extents.pole_event_id
