{{ restated_by_window('int_baseline_windows', 'start_ts', ['pole_id']) }}
-- Events at the same hours share their placebos.
with windows as (
    select distinct
        window_id,
        pole_id,
        start_ts,
        end_ts
    from {{ ref('int_dr_placebo_windows') }}
    where {{ touched('start_ts', 'int_baseline_windows') }}
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
    hours.window_id,
    hours.pole_id,
    windows.start_ts,
    hours.method,
    hours.adjustment,
    hours.day_offset,
    hours.local_hour,
    hours.baseline_kw,
    hours.actual_kw
from hours
inner join windows on hours.window_id = windows.window_id and hours.pole_id = windows.pole_id
where hours.valid_slots >= {{ number_var('dr_min_valid_share') }} * hours.slots
