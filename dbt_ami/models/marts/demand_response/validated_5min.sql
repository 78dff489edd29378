{{ restated_by_window('int_estimated_windows', 'slot_ts', ['pole_id', 'meter_id']) }}
with neighbours as (
    select
        *,
        {{ int_div(epoch_us('slot_ts'), 300000000) }} as slot_number,
        max(
            case when is_measured then {{ int_div(epoch_us('slot_ts'), 300000000) }} end
        ) over before_slot as previous_number,
        last_value(case when is_measured then power_kw end ignore nulls) over before_slot
            as previous_kw,
        min(
            case when is_measured then {{ int_div(epoch_us('slot_ts'), 300000000) }} end
        ) over after_slot as next_number,
        first_value(case when is_measured then power_kw end ignore nulls) over after_slot
            as next_kw
    from {{ ref('int_meter_slots') }}
    where {{ touched('slot_ts', 'int_estimated_windows', margin_s=86400) }}
    window
        before_slot as (
            partition by meter_id, pole_id
            order by slot_ts
            rows between unbounded preceding and 1 preceding
        ),
        after_slot as (
            partition by meter_id, pole_id
            order by slot_ts
            rows between 1 following and unbounded following
        )
),

judged as (
    select
        *,
        in_service_s > 0 and not is_measured as is_unmeasured,
        coalesce(
            (next_number - previous_number - 1) * 300 <= {{ var('estimate_linear_max_s') }}, false
        ) as is_short_gap
    from neighbours
),

days_to_fill as (
    select distinct
        meter_id,
        pole_id,
        day_number
    from judged
    where is_unmeasured and not is_short_gap
),

fill_days as (
    select
        days_to_fill.meter_id,
        days_to_fill.pole_id,
        days_to_fill.day_number,
        fills.like_day_number
    from days_to_fill
    inner join {{ ref('int_meter_fill_days') }} as fills
        on
            days_to_fill.meter_id = fills.meter_id
            and days_to_fill.pole_id = fills.pole_id
            and days_to_fill.day_number = fills.day_number
),

-- An hour that the clock repeats counts once, as the mean of both.
like_slots as (
    select
        fill_days.meter_id,
        fill_days.pole_id,
        fill_days.day_number,
        fill_days.like_day_number,
        slots.slot_of_day,
        avg(slots.power_kw) as power_kw
    from fill_days
    inner join {{ ref('int_meter_slots') }} as slots
        on
            fill_days.meter_id = slots.meter_id
            and fill_days.pole_id = slots.pole_id
            and fill_days.like_day_number = slots.day_number
    where
        slots.is_measured
        and {{ in_fill_days('slots.slot_ts') }}
    group by
        fill_days.meter_id,
        fill_days.pole_id,
        fill_days.day_number,
        fill_days.like_day_number,
        slots.slot_of_day
),

day_means as (
    select
        meter_id,
        pole_id,
        day_number,
        slot_of_day,
        avg(power_kw) as power_kw
    from like_slots
    group by meter_id, pole_id, day_number, slot_of_day
),

reasoned as (
    select
        judged.*,
        day_means.power_kw as like_kw,
        case
            when judged.is_measured and judged.is_outage then 'outage'
            when judged.is_measured then 'readings'
            when judged.in_service_s = 0 then 'not_in_service'
            when judged.is_short_gap then 'linear'
            when day_means.power_kw is not null then 'like_days'
            else 'nothing_to_go_by'
        end as reason
    from judged
    left join day_means
        on
            judged.meter_id = day_means.meter_id
            and judged.pole_id = day_means.pole_id
            and judged.day_number = day_means.day_number
            and judged.slot_of_day = day_means.slot_of_day
            and judged.is_unmeasured
            and not judged.is_short_gap
)

select
    meter_id,
    pole_id,
    slot_ts,
    case reason
        when 'outage' then power_kw
        when 'readings' then power_kw
        when 'linear'
            then
                previous_kw
                + (next_kw - previous_kw)
                * (slot_number - previous_number) / (next_number - previous_number)
        when 'like_days' then like_kw
    end as power_kw,
    case
        when reason in ('outage', 'readings') then 'measured'
        when reason in ('linear', 'like_days') then 'estimated'
        else 'missing'
    end as status,
    reason,
    '{{ var("vee_version") }}' as version,  -- noqa: RF04
    in_service_s,
    least(known_s, in_service_s) / nullif(in_service_s, 0) as coverage
from reasoned
where {{ touched('slot_ts', 'int_estimated_windows') }}
