with events as (
    select
        meter_id,
        epoch,
        first_seq,
        pole_id,
        start_ts,
        sample_interval_ms
    from {{ ref('int_low_runs') }}
    where {{ is_sag_event('(last_seq - first_seq + 1)', 'sample_interval_ms') }}
),

pole_feeders as (
    select
        pole_id,
        max(feeder_id) as feeder_id
    from {{ ref('int_meter_service') }}
    group by pole_id
),

reporting_poles as (
    select
        hours.pole_id,
        hours.hour_ts,
        pole_feeders.feeder_id,
        count(distinct hours.meter_id) as reporting_meters
    from {{ ref('int_meter_hours') }} as hours
    left join pole_feeders on hours.pole_id = pole_feeders.pole_id
    where hours.received > 0
    group by hours.pole_id, hours.hour_ts, pole_feeders.feeder_id
),

reporting_feeders as (
    select
        feeder_id,
        hour_ts,
        count(*) as reporting_poles
    from reporting_poles
    where feeder_id is not null
    group by feeder_id, hour_ts
),

pole_steps as (
    {{ steps_between_starts('events', 'pole_id', ['meter_id', 'first_seq']) }}
),

pole_numbered as (
    {{ numbered_start_groups('pole_steps', 'pole_id', ['meter_id', 'first_seq']) }}
),

pole_groups as (
    select
        pole_id,
        group_number,
        min(start_ts) as start_ts,
        max(sample_interval_ms) as sample_interval_ms,
        count(distinct meter_id) as meters
    from pole_numbered
    group by pole_id, group_number
),

judged_pole_groups as (
    select
        pole_groups.pole_id,
        pole_groups.group_number,
        pole_groups.start_ts,
        pole_groups.sample_interval_ms,
        pole_groups.meters,
        reporting_poles.feeder_id,
        reporting_poles.reporting_meters,
        pole_groups.meters
        >= {{ number_var('scope_min_share') }} * reporting_poles.reporting_meters
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
        group_number as pole_group_number,
        start_ts,
        sample_interval_ms
    from judged_pole_groups
    where affects_pole and feeder_id is not null
),

feeder_steps as (
    {{ steps_between_starts('affected_poles', 'feeder_id', ['pole_id', 'pole_group_number']) }}
),

feeder_numbered as (
    {{ numbered_start_groups('feeder_steps', 'feeder_id', ['pole_id', 'pole_group_number']) }}
),

feeder_groups as (
    select
        feeder_id,
        group_number,
        min(start_ts) as start_ts,
        count(distinct pole_id) as poles
    from feeder_numbered
    group by feeder_id, group_number
),

feeder_incidents as (
    select
        feeder_groups.feeder_id,
        feeder_groups.group_number
    from feeder_groups
    inner join reporting_feeders
        on
            feeder_groups.feeder_id = reporting_feeders.feeder_id
            and {{ floor_time('feeder_groups.start_ts', 3600) }} = reporting_feeders.hour_ts
    where
        feeder_groups.poles >= {{ var('scope_min_members') }}
        and feeder_groups.poles
        >= {{ number_var('scope_min_share') }} * reporting_feeders.reporting_poles
),

feeder_members as (
    select
        feeder_numbered.pole_id,
        feeder_numbered.pole_group_number
    from feeder_numbered
    inner join feeder_incidents
        on
            feeder_numbered.feeder_id = feeder_incidents.feeder_id
            and feeder_numbered.group_number = feeder_incidents.group_number
)

select
    pole_numbered.meter_id,
    pole_numbered.epoch,
    pole_numbered.first_seq,
    case
        when feeder_members.pole_id is not null then 'feeder'
        when judged.reporting_meters = 1 then 'undetermined'
        when judged.affects_pole and judged.meters >= {{ var('scope_min_members') }} then 'pole'
        else 'meter'
    end as scope
from pole_numbered
inner join judged_pole_groups as judged
    on
        pole_numbered.pole_id = judged.pole_id
        and pole_numbered.group_number = judged.group_number
left join feeder_members
    on
        pole_numbered.pole_id = feeder_members.pole_id
        and pole_numbered.group_number = feeder_members.pole_group_number
