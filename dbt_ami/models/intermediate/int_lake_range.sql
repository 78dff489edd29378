-- A clock that fell back to its first day shows as a short stretch, long before what follows: it
-- does not make the lake begin there.
with newest as (
    select max(last_event_ts) as watermark_ts from {{ ref('int_meter_stretches') }}
),

trusted as (
    select stretches.first_event_ts
    from {{ ref('int_meter_stretches') }} as stretches
    cross join newest
    where
        {{ epoch_us('stretches.last_event_ts') }} - {{ epoch_us('stretches.first_event_ts') }}
        > {{ us_var('stray_stretch_max_s') }}
        or {{ epoch_us('coalesce(stretches.next_from, newest.watermark_ts)') }}
        - {{ epoch_us('stretches.last_event_ts') }}
        <= {{ var('unregistered_max_silence_days') }} * {{ 86400 * 1000000 }}
),

oldest as (
    select min(first_event_ts) as oldest_event_ts from trusted
)

select
    oldest.oldest_event_ts,
    newest.watermark_ts,
    {{ floor_time('oldest.oldest_event_ts', 3600) }} as oldest_hour_ts
from newest
cross join oldest
