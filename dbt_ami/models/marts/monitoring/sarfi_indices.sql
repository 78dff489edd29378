{{ config(partition_by=by_day('period_start', 'date'), cluster_by=['unit_kind', 'unit_id']) }}
with hours as (
    select * from {{ ref('int_sarfi_observation') }}
),

unit_hours as (
    {{ sarfi_units('hours', 'hour_ts') }}
),

observed as (
    select
        unit_kind,
        unit_id,
        period_kind,
        period_start,
        sum(observed_s) / 86400 as meter_days,
        count(distinct case when observed_s > 0 then hour_ts end)
        / cast(24 as {{ type_double() }}) as observed_days,
        max(meters_not_assessable) > 0 as has_unassessable_meters
    from unit_hours
    group by unit_kind, unit_id, period_kind, period_start
),

-- An event counts where and when it starts, once it has ended.
events as (
    select
        pole_feeders.feeder_id,
        events.pole_id,
        events.start_ts,
        events.side,
        events.extreme_voltage_pu
    from {{ ref('rms_variation_events') }} as events
    left join {{ ref('int_pole_feeders') }} as pole_feeders
        on events.pole_id = pole_feeders.pole_id
    where
        not events.coarse
        and not events.is_open
        and events.duration_s <= {{ number_var('ieee1159_temporary_s') }}
),

unit_events as (
    {{ sarfi_units('events', 'start_ts') }}
),

thresholds as (
    {{ rows_of(var('sarfi_thresholds_pct'), 'threshold_pct') }}
),

counted as (
    select
        unit_events.unit_kind,
        unit_events.unit_id,
        unit_events.period_kind,
        unit_events.period_start,
        thresholds.threshold_pct,
        count(*) as event_count
    from unit_events
    inner join thresholds
        on {{ exceeds_sarfi_threshold(
            'unit_events.side', 'unit_events.extreme_voltage_pu', 'thresholds.threshold_pct'
        ) }}
    group by
        unit_events.unit_kind,
        unit_events.unit_id,
        unit_events.period_kind,
        unit_events.period_start,
        thresholds.threshold_pct
),

joined as (
    select
        observed.*,
        thresholds.threshold_pct,
        case when observed.meter_days > 0 then coalesce(counted.event_count, 0) end as event_count,
        case
            when observed.meter_days = 0 then 'not_assessable'
            when observed.observed_days < {{ number_var('sarfi_min_observed_days') }}
                then 'too_short'
            else 'published'
        end as status
    from observed
    cross join thresholds
    left join counted
        on
            observed.unit_kind = counted.unit_kind
            and observed.unit_id = counted.unit_id
            and observed.period_kind = counted.period_kind
            and observed.period_start = counted.period_start
            and thresholds.threshold_pct = counted.threshold_pct
)

select
    unit_kind,
    unit_id,
    period_kind,
    period_start,
    threshold_pct,
    event_count,
    meter_days,
    observed_days,
    has_unassessable_meters,
    status,
    case when status = 'published' then 365 * event_count / meter_days end as sarfi
from joined
