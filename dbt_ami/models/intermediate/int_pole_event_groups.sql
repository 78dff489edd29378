with pole_groups as (
    select
        pole_event_id,
        pole_id,
        min(start_ts) as start_ts,
        max(sample_interval_ms) as sample_interval_ms,
        count(distinct meter_id) as meters_affected
    from {{ ref('int_pole_event_members') }}
    group by pole_event_id, pole_id
),

reporting_poles as (
    select
        hours.pole_id,
        hours.hour_ts,
        pole_feeders.feeder_id,
        count(distinct hours.meter_id) as meters_reporting
    from {{ ref('int_meter_hours') }} as hours
    left join {{ ref('int_pole_feeders') }} as pole_feeders
        on hours.pole_id = pole_feeders.pole_id
    where hours.received > 0
    group by hours.pole_id, hours.hour_ts, pole_feeders.feeder_id
),

reporting_feeders as (
    select
        feeder_id,
        hour_ts,
        count(*) as poles_reporting,
        cast(sum(meters_reporting) as {{ dbt.type_bigint() }}) as meters_reporting
    from reporting_poles
    where feeder_id is not null
    group by feeder_id, hour_ts
),

judged as (
    select
        pole_groups.pole_event_id,
        pole_groups.pole_id,
        pole_groups.start_ts,
        pole_groups.sample_interval_ms,
        pole_groups.meters_affected,
        reporting_poles.feeder_id,
        reporting_poles.meters_reporting,
        pole_groups.meters_affected
        >= {{ number_var('scope_min_share') }} * reporting_poles.meters_reporting
            as affects_pole
    from pole_groups
    inner join reporting_poles
        on
            pole_groups.pole_id = reporting_poles.pole_id
            and {{ floor_time('pole_groups.start_ts', 3600) }} = reporting_poles.hour_ts
),

affected_poles as (
    select
        feeder_id,
        pole_id,
        pole_event_id,
        start_ts,
        sample_interval_ms
    from judged
    where affects_pole and feeder_id is not null
),

feeder_steps as (
    {{ steps_between_starts('affected_poles', 'feeder_id', ['pole_id', 'pole_event_id']) }}
),

feeder_numbered as (
    {{ numbered_start_groups('feeder_steps', 'feeder_id', ['pole_id', 'pole_event_id']) }}
),

feeder_groups as (
    select
        feeder_id,
        group_number,
        min(start_ts) as start_ts,
        count(distinct pole_id) as poles_affected
    from feeder_numbered
    group by feeder_id, group_number
),

feeder_incidents as (
    select
        feeder_groups.feeder_id,
        feeder_groups.group_number,
        feeder_groups.poles_affected,
        reporting_feeders.poles_reporting,
        reporting_feeders.meters_reporting,
        {{ text_hash(['feeder_groups.feeder_id', epoch_us('feeder_groups.start_ts')]) }}
            as feeder_event_id
    from feeder_groups
    inner join reporting_feeders
        on
            feeder_groups.feeder_id = reporting_feeders.feeder_id
            and {{ floor_time('feeder_groups.start_ts', 3600) }} = reporting_feeders.hour_ts
    where
        feeder_groups.poles_affected >= {{ var('scope_min_members') }}
        and feeder_groups.poles_affected
        >= {{ number_var('scope_min_share') }} * reporting_feeders.poles_reporting
),

feeder_members as (
    select
        feeder_numbered.pole_event_id,
        feeder_incidents.feeder_event_id,
        feeder_incidents.poles_affected,
        feeder_incidents.poles_reporting,
        feeder_incidents.meters_reporting
    from feeder_numbered
    inner join feeder_incidents
        on
            feeder_numbered.feeder_id = feeder_incidents.feeder_id
            and feeder_numbered.group_number = feeder_incidents.group_number
)

select
    judged.pole_event_id,
    judged.pole_id,
    judged.feeder_id,
    judged.start_ts,
    judged.meters_affected,
    judged.meters_reporting,
    feeder_members.feeder_event_id,
    feeder_members.poles_affected as feeder_poles_affected,
    feeder_members.poles_reporting as feeder_poles_reporting,
    feeder_members.meters_reporting as feeder_meters_reporting,
    case
        when feeder_members.pole_event_id is not null then 'feeder'
        when judged.meters_reporting = 1 then 'undetermined'
        when
            judged.affects_pole and judged.meters_affected >= {{ var('scope_min_members') }}
            then 'pole'
        else 'meter'
    end as scope
from judged
left join feeder_members on judged.pole_event_id = feeder_members.pole_event_id
