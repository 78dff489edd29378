{{ restated_by_window('int_baseline_windows', 'slot_ts', ['event_id', 'pole_id']) }}
with windows as (
    select
        event_id as window_id,
        pole_id,
        start_ts,
        end_ts
    from {{ ref('int_dr_event_poles') }}
    where {{ touched('start_ts', 'int_baseline_windows', margin_s=2 * 86400) }}
),

{{ dr_windows('windows') }}

select
    window_id as event_id,
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
where {{ touched('slot_ts', 'int_baseline_windows') }}
