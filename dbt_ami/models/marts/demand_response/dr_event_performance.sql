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
    {{ dr_slot_columns() }}
from dr_slots
where {{ touched('slot_ts', 'int_baseline_windows') }}
