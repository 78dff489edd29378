-- Windows are aligned to 5 minutes, not empty and at most 24 h long.
select
    event_id,
    start_ts,
    end_ts
from {{ ref('dr_events') }}
where
    mod({{ epoch_us('start_ts') }}, 300000000) != 0
    or mod({{ epoch_us('end_ts') }}, 300000000) != 0
    or {{ epoch_us('end_ts') }} - {{ epoch_us('start_ts') }} not between 1 and 86400000000
