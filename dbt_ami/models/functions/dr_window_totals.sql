{{ config(
    materialized='table_function',
    parameters=function_parameters(
        {'window_start': 'instant', 'window_end': 'instant', 'pole_ids': 'texts'}
    )
) }}
with summaries as (
    select
        *,
        'window' as event_id
    from {{ ref('dr_window_summary') }}(window_start, window_end, pole_ids)
),

totals as (
    {{ dr_event_totals('summaries') }}
)

select
    method,
    adjustment,
    is_own_adjustment,
    poles,
    unknown_poles,
    baseline_kwh,
    actual_kwh,
    shed_kwh,
    shed_pct,
    rebound_kwh
from totals
