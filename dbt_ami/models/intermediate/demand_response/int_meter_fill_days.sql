-- Eligible days are numbered within their type, so that the last ones before any day are known by
-- their numbers.
with numbered as (
    select
        *,
        count(case when is_eligible then 1 end) over (
            partition by meter_id, pole_id, day_type
            order by day_number
            rows between unbounded preceding and current row
        ) as eligible_number
    from {{ ref('int_meter_like_days') }}
),

with_gaps as (
    select
        meter_id,
        pole_id,
        day_number,
        day_type,
        eligible_number - case when is_eligible then 1 else 0 end as eligible_before
    from numbered
    where unmeasured_slots > 0
)

select
    with_gaps.meter_id,
    with_gaps.pole_id,
    with_gaps.day_number,
    like_days.day_number as like_day_number
from with_gaps
inner join numbered as like_days
    on
        with_gaps.meter_id = like_days.meter_id
        and with_gaps.pole_id = like_days.pole_id
        and with_gaps.day_type = like_days.day_type
        and like_days.eligible_number > with_gaps.eligible_before - {{ var('estimate_days') }}
        and like_days.eligible_number <= with_gaps.eligible_before
        and with_gaps.day_number - {{ var('dr_lookback_days') }} <= like_days.day_number
where like_days.is_eligible
qualify
    count(*) over (
        partition by with_gaps.meter_id, with_gaps.pole_id, with_gaps.day_number
    ) = {{ var('estimate_days') }}
