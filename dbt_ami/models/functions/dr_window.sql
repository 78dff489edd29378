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

pole_totals as (
    {{ dr_pole_totals('slots') }}
),

window_totals as (
    {{ dr_event_totals('pole_totals') }}
),

slot_totals as (
    {{ dr_slot_totals('slots') }}
)

select
    'window' as grain,
    method,
    adjustment,
    is_own_adjustment,
    null as pole_id,
    null as slot_ts,
    null as phase,
    poles,
    null as known_poles,
    unknown_poles,
    null as event_slots,
    null as valid_slots,
    null as coverage,
    baseline_kwh,
    actual_kwh,
    shed_kwh,
    shed_pct,
    rebound_kwh,
    null as adjust_factor,
    null as adjust_offset_kw,
    null as adjust_fallback,
    null as null_reason,
    null as baseline_kw,
    null as actual_kw,
    null as shed_kw
from window_totals
union all
select
    'pole' as grain,
    method,
    adjustment,
    is_own_adjustment,
    pole_id,
    null as slot_ts,
    null as phase,
    null as poles,
    null as known_poles,
    null as unknown_poles,
    event_slots,
    valid_slots,
    coverage,
    baseline_kwh,
    actual_kwh,
    shed_kwh,
    shed_pct,
    rebound_kwh,
    adjust_factor,
    adjust_offset_kw,
    adjust_fallback,
    null_reason,
    null as baseline_kw,
    null as actual_kw,
    null as shed_kw
from pole_totals
union all
select
    'slot' as grain,
    method,
    adjustment,
    is_own_adjustment,
    null as pole_id,
    slot_ts,
    phase,
    poles,
    known_poles,
    null as unknown_poles,
    null as event_slots,
    null as valid_slots,
    null as coverage,
    null as baseline_kwh,
    null as actual_kwh,
    null as shed_kwh,
    null as shed_pct,
    null as rebound_kwh,
    null as adjust_factor,
    null as adjust_offset_kw,
    null as adjust_fallback,
    null as null_reason,
    baseline_kw,
    actual_kw,
    shed_kw
from slot_totals
