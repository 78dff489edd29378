{{ config(
    materialized='table_function',
    parameters=function_parameters(
        {'window_start': 'instant', 'window_end': 'instant', 'pole_ids': 'texts'}
    )
) }}
{%- set span = (instant_of('window_start'), instant_of('window_end')) -%}
with windows as (
    select
        'window' as window_id,
        pole_id,
        {{ span[0] }} as start_ts,
        {{ span[1] }} as end_ts
    from {{ ref('int_pole_time_zones') }}
    where {{ is_listed('pole_id', 'pole_ids') }}
),

{{ dr_windows('windows', span=span) }}

select
    pole_id,
    method,
    adjustment,
    slot_ts,
    phase,
    candidate_days,
    baseline_kw,
    actual_kw,
    baseline_kw - actual_kw as shed_kw,
    adjust_factor,
    adjust_offset_kw,
    adjust_fallback,
    adjustment = {{ dr_own_adjustment('method') }} as is_own_adjustment,
    null_reason
from dr_slots
