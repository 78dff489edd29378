{{ restated_by_window('int_changed_day_windows', 'day_ts', ['pole_id', 'meter_id']) }}
with event_days as (
    select distinct
        zones.pole_id,
        local_slots.day_number
    from {{ ref('int_event_slots') }} as event_slots
    inner join {{ ref('int_pole_time_zones') }} as zones on event_slots.pole_id = zones.pole_id
    inner join {{ ref('int_local_slots') }} as local_slots
        on
            zones.time_zone = local_slots.time_zone
            and event_slots.slot_ts = local_slots.slot_ts
),

zone_days as (
    select
        time_zone,
        day_number,
        count(*) as day_slots
    from {{ ref('int_local_slots') }}
    group by time_zone, day_number
),

days as (
    select
        meter_id,
        pole_id,
        day_number,
        {{ count_where('is_measured') }} as measured_slots,
        {{ count_where('in_service_s > 0 and not is_measured') }} as unmeasured_slots,
        {{ count_where('is_outage') }} as outage_slots
    from {{ ref('int_meter_slots') }}
    where {{ touched('slot_ts', 'int_changed_day_windows', margin_s=86400) }}
    group by meter_id, pole_id, day_number
)

select
    days.meter_id,
    days.pole_id,
    days.day_number,
    {{ timestamp_of_us('days.day_number * 86400000000') }} as day_ts,
    days.unmeasured_slots,
    {{ day_type('days.day_number', '(holidays.time_zone is not null)') }} as day_type,
    days.measured_slots >= {{ number_var('dr_day_min_coverage') }} * zone_days.day_slots
    and days.outage_slots = 0
    and event_days.pole_id is null as is_eligible
from days
inner join {{ ref('int_pole_time_zones') }} as zones on days.pole_id = zones.pole_id
inner join zone_days
    on zones.time_zone = zone_days.time_zone and days.day_number = zone_days.day_number
left join {{ ref('int_zone_holidays') }} as holidays
    on zones.time_zone = holidays.time_zone and days.day_number = holidays.day_number
left join event_days
    on days.pole_id = event_days.pole_id and days.day_number = event_days.day_number
where
    {{ touched(timestamp_of_us('days.day_number * 86400000000'), 'int_changed_day_windows') }}
