{{ config(partition_by=by_day('start_ts'), cluster_by=['feeder_id']) }}
with meters as (
    select
        event_groups.feeder_event_id,
        max(event_groups.feeder_poles_affected) as poles_affected,
        max(event_groups.feeder_poles_reporting) as poles_reporting,
        max(event_groups.feeder_meters_reporting) as meters_reporting,
        count(distinct members.meter_id) as meters_affected
    from {{ ref('int_pole_event_groups') }} as event_groups
    inner join {{ ref('int_pole_event_members') }} as members
        on event_groups.pole_event_id = members.pole_event_id
    where event_groups.feeder_event_id is not null
    group by event_groups.feeder_event_id
),

extents as (
    select
        feeder_event_id,
        feeder_id,
        min(start_ts) as start_ts,
        max(end_ts) as end_ts,
        max(
            {{ epoch_us('start_ts') }}
            + cast(round(duration_s * 1000000) as {{ dbt.type_bigint() }})
        ) as until_us,
        cast(sum(event_count) as {{ dbt.type_bigint() }}) as event_count,
        min(min_voltage_pu) as min_voltage_pu,
        max_by(severity, {{ severity_rank('severity') }}) as severity,
        max(case when is_open then 1 else 0 end) = 1 as is_open
    from {{ ref('pole_events') }}
    where feeder_event_id is not null
    group by feeder_event_id, feeder_id
)

select
    extents.feeder_event_id,
    extents.feeder_id,
    extents.start_ts,
    extents.end_ts,
    (extents.until_us - {{ epoch_us('extents.start_ts') }})
    / cast(1000000 as {{ type_double() }}) as duration_s,
    extents.event_count,
    meters.poles_affected,
    meters.poles_reporting,
    meters.poles_affected / cast(meters.poles_reporting as {{ type_double() }})
        as share_affected,
    meters.meters_affected,
    meters.meters_reporting,
    extents.min_voltage_pu,
    extents.severity,
    extents.is_open
from extents
inner join meters on extents.feeder_event_id = meters.feeder_event_id
