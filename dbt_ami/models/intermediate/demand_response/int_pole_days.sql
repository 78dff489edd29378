{{ restated_by_window('int_estimated_windows', 'day_ts', ['pole_id']) }}
with zone_days as (
    select
        time_zone,
        day_number,
        count(*) as day_slots
    from {{ ref('int_local_slots') }}
    group by time_zone, day_number
),

measured as (
    select
        zones.pole_id,
        local_slots.day_number,
        count(*) as stored_slots,
        count(poles.dr_power_kw) as valid_slots,
        sum(poles.dr_power_kw) / 12 as kwh,
        sum(abs(poles.dr_power_kw)) as absolute_kw_sum
    from {{ ref('v_5min_pole') }} as poles
    inner join {{ ref('int_pole_time_zones') }} as zones on poles.pole_id = zones.pole_id
    inner join {{ ref('int_local_slots') }} as local_slots
        on zones.time_zone = local_slots.time_zone and poles.slot_ts = local_slots.slot_ts
    where {{ touched('poles.slot_ts', 'int_estimated_windows', margin_s=86400) }}
    group by zones.pole_id, local_slots.day_number
),

touched_slots as (
    select
        pole_id,
        slot_ts,
        0 as is_event,
        1 as is_outage
    from {{ ref('int_outage_slots') }}
    union all
    select
        pole_id,
        slot_ts,
        1 as is_event,
        0 as is_outage
    from {{ ref('int_event_slots') }}
),

touched as (
    select
        zones.pole_id,
        local_slots.day_number,
        max(touched_slots.is_event) = 1 as is_event_day,
        max(touched_slots.is_outage) = 1 as has_outage
    from touched_slots
    inner join {{ ref('int_pole_time_zones') }} as zones on touched_slots.pole_id = zones.pole_id
    inner join {{ ref('int_local_slots') }} as local_slots
        on
            zones.time_zone = local_slots.time_zone
            and touched_slots.slot_ts = local_slots.slot_ts
    group by zones.pole_id, local_slots.day_number
),

judged as (
    select
        measured.pole_id,
        measured.day_number,
        {{ timestamp_of_us('measured.day_number * 86400000000') }} as day_ts,
        zones.time_zone,
        zone_days.day_slots,
        measured.valid_slots,
        measured.kwh,
        measured.absolute_kw_sum,
        holidays.time_zone is not null as is_holiday,
        coalesce(touched.is_event_day, false) as is_event_day,
        coalesce(touched.has_outage, false) as has_outage,
        measured.valid_slots / cast(zone_days.day_slots as {{ type_double() }}) as coverage
    from measured
    inner join {{ ref('int_pole_time_zones') }} as zones on measured.pole_id = zones.pole_id
    inner join zone_days
        on zones.time_zone = zone_days.time_zone and measured.day_number = zone_days.day_number
    left join {{ ref('int_zone_holidays') }} as holidays
        on zones.time_zone = holidays.time_zone and measured.day_number = holidays.day_number
    left join touched
        on measured.pole_id = touched.pole_id and measured.day_number = touched.day_number
)

select
    pole_id,
    day_number,
    day_ts,
    {{ date_of_day_number('day_number') }} as local_day,
    time_zone,
    {{ day_type('day_number', 'is_holiday') }} as day_type,
    is_holiday,
    is_event_day,
    has_outage,
    day_slots,
    valid_slots,
    coverage,
    kwh,
    absolute_kw_sum,
    not is_event_day
    and not has_outage
    and coverage >= {{ number_var('dr_day_min_coverage') }} as is_eligible
from judged
where {{ touched('day_ts', 'int_estimated_windows') }}
