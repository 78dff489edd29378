{{ restated_by_window('int_touched_windows', 'until_ts', ['meter_id']) }}
with minutes as (
    select
        meter_id,
        reading_hour_ts,
        minute_ts,
        max(sample_interval_ms) as sample_interval_ms,
        min(first_received_ts) as first_received_ts,
        max(last_received_ts) as last_received_ts
    from {{ ref('int_meter_minutes') }}
    where
        received_readings > 0
        and {{ touched('reading_hour_ts', 'int_touched_windows') }}
    group by meter_id, reading_hour_ts, minute_ts
),

steps as (
    select
        meter_id,
        sample_interval_ms,
        first_received_ts as until_ts,
        {{ epoch_us('lag(last_received_ts) over in_hour') }} + sample_interval_ms * 1000 as from_us
    from minutes
    window in_hour as (
        partition by meter_id, reading_hour_ts
        order by minute_ts
    )
)

select
    meter_id,
    {{ timestamp_of_us('from_us') }} as from_ts,
    until_ts
from steps
where {{ epoch_us('until_ts') }} - from_us > {{ silence_limit_us('sample_interval_ms') }}
