select
    min(first_event_ts) as oldest_event_ts,
    max(last_event_ts) as watermark_ts,
    {{ floor_time('min(first_event_ts)', 3600) }} as oldest_hour_ts
from {{ ref('int_meter_hour_edges') }}
