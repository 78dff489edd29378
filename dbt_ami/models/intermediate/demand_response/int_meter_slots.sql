{{ restated_by_window('int_changed_day_windows', 'slot_ts', ['pole_id', 'meter_id']) }}
-- Hours in which a whole pole is silent stand here too, on days on which it shows at all.
with seen_hours as (
    select distinct
        pole_id,
        {{ int_div(epoch_us('hour_ts'), 3600000000) }} as hour_number
    from {{ ref('int_meter_hour_parts') }}
    where {{ touched('hour_ts', 'int_changed_day_windows') }}
),

shown_days as (
    select
        pole_id,
        {{ int_div('hour_number', 24) }} as utc_day
    from seen_hours
    union distinct
    select
        pole_id,
        {{ int_div(epoch_us('slot_ts'), 86400000000) }} as utc_day
    from {{ ref('int_outage_slots') }}
    where {{ touched('slot_ts', 'int_changed_day_windows') }}
),

day_hours as (
    {{ explode_range('shown_days', 'utc_day * 24', 'utc_day * 24 + 23', 'hour_number') }}
),

silent_hours as (
    select
        day_hours.pole_id,
        {{ timestamp_of_us('day_hours.hour_number * 3600000000') }} as slot_ts
    from day_hours
    left join seen_hours
        on
            day_hours.pole_id = seen_hours.pole_id
            and day_hours.hour_number = seen_hours.hour_number
    where seen_hours.pole_id is null
),

{{ in_service_slots('silent_hours', 300) }},

slots as (
    select
        meter_id,
        pole_id,
        slot_ts,
        covered_s,
        in_service_s,
        covered_kwh
    from {{ ref('int_meter_5min') }}
    where {{ touched('slot_ts', 'int_changed_day_windows') }}
    union all
    select
        meter_id,
        pole_id,
        slot_ts,
        0 as covered_s,
        in_service_s,
        0 as covered_kwh
    from in_service
),

-- Time without supply is known to be 0 kW, as far as it was not read.
known as (
    select
        slots.meter_id,
        slots.pole_id,
        slots.slot_ts,
        slots.in_service_s,
        slots.covered_kwh,
        coalesce(outages.outage_s, 0) > 0 as is_outage,
        slots.covered_s + greatest(
            0, least(coalesce(outages.outage_s, 0), slots.in_service_s - slots.covered_s)
        ) as known_s
    from slots
    left join {{ ref('int_outage_slots') }} as outages
        on slots.meter_id = outages.meter_id and slots.slot_ts = outages.slot_ts
)

select
    known.meter_id,
    known.pole_id,
    known.slot_ts,
    local_slots.day_number,
    local_slots.slot_of_day,
    known.in_service_s,
    known.known_s,
    known.is_outage,
    coalesce(
        known.known_s >= {{ number_var('power_min_coverage') }} * nullif(known.in_service_s, 0),
        false
    ) as is_measured,
    known.covered_kwh * 3600 / nullif(known.known_s, 0) as power_kw
from known
inner join {{ ref('int_pole_time_zones') }} as zones on known.pole_id = zones.pole_id
inner join {{ ref('int_local_slots') }} as local_slots
    on zones.time_zone = local_slots.time_zone and known.slot_ts = local_slots.slot_ts
