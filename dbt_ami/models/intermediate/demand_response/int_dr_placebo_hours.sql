-- Events at the same hours share their placebos.
with windows as (
    select distinct
        window_id,
        pole_id,
        start_ts,
        end_ts
    from {{ ref('int_dr_placebo_windows') }}
),

{{ dr_windows('windows', with_rebound=false) }},

hours as (
    select
        window_id,
        pole_id,
        method,
        adjustment,
        day_offset,
        {{ int_div('slot_of_day', 12) }} as local_hour,
        avg(case when actual_kw is not null then baseline_kw end) as baseline_kw,
        avg(case when baseline_kw is not null then actual_kw end) as actual_kw,
        count(baseline_kw + actual_kw) as valid_slots,
        count(*) as slots
    from dr_slots
    where phase = 'event'
    group by
        window_id, pole_id, method, adjustment, day_offset, {{ int_div('slot_of_day', 12) }}
)

select
    window_id,
    pole_id,
    method,
    adjustment,
    day_offset,
    local_hour,
    baseline_kw,
    actual_kw
from hours
where valid_slots >= {{ number_var('dr_min_valid_share') }} * slots
