{{ config(
    materialized='table_function',
    parameters=function_parameters(
        {'window_start': 'instant', 'window_end': 'instant', 'pole_ids': 'texts'}
    )
) }}
with slots as (
    select
        *,
        'window' as event_id
    from {{ ref('dr_window_performance') }}(window_start, window_end, pole_ids)
),

totals as (
    {{ dr_pole_totals('slots') }}
)

select
    pole_id,
    method,
    adjustment,
    is_own_adjustment,
    event_slots,
    valid_slots,
    coverage,
    baseline_kwh,
    actual_kwh,
    shed_kwh,
    shed_pct,
    rebound_slots,
    rebound_kwh,
    adjust_factor,
    adjust_offset_kw,
    adjust_fallback,
    null_reason
from totals
