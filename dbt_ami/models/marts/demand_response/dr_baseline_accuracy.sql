with asked as (
    select distinct
        reference_id,
        pole_id
    from (
        select
            event_id as reference_id,
            pole_id
        from {{ ref('int_dr_event_poles') }}
        union all
        select
            'default_window' as reference_id,
            pole_id
        from {{ ref('int_pole_days') }}
    ) as every_reference
),

dr_methods as (
    {{ dr_method_rows() }}
),

adjustment_kinds as (
    {{ dr_adjustment_rows() }}
),

hours as (
    select
        asked.reference_id,
        asked.pole_id,
        dr_methods.method,
        adjustment_kinds.adjustment,
        placebo_hours.window_id,
        placebo_hours.baseline_kw,
        placebo_hours.actual_kw
    from asked
    cross join dr_methods
    cross join adjustment_kinds
    left join {{ ref('int_dr_placebo_windows') }} as windows
        on asked.reference_id = windows.reference_id and asked.pole_id = windows.pole_id
    left join {{ ref('int_dr_placebo_hours') }} as placebo_hours
        on
            windows.window_id = placebo_hours.window_id
            and windows.pole_id = placebo_hours.pole_id
            and dr_methods.method = placebo_hours.method
            and adjustment_kinds.adjustment = placebo_hours.adjustment
),

accuracy as (
    {{ dr_accuracy('hours') }}
)

select
    *,
    adjustment = {{ dr_own_adjustment('method') }} as is_own_adjustment
from accuracy
