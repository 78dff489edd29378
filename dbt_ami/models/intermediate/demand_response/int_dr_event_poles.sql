with named as (
    select
        events.event_id,
        zones.pole_id,
        zones.time_zone,
        events.start_ts,
        events.end_ts,
        lead(events.start_ts) over (
            partition by zones.pole_id
            order by events.start_ts, events.event_id
        ) as next_start_ts
    from {{ ref('dr_events') }} as events
    inner join {{ ref('int_pole_time_zones') }} as zones
        on
            events.pole_ids = 'all'
            or strpos(
                ';' || replace(events.pole_ids, ' ', '') || ';', ';' || zones.pole_id || ';'
            ) > 0
),

rebounds as (
    select
        *,
        {{ timestamp_of_us(epoch_us('end_ts') ~ ' + ' ~ us_var('dr_rebound_s')) }} as rebound_ts
    from named
)

select
    event_id,
    pole_id,
    start_ts,
    end_ts,
    least(rebound_ts, coalesce(next_start_ts, rebound_ts)) as rebound_end_ts,
    {{ int_div(local_us('start_ts', 'time_zone'), 86400000000) }} as day_number
from rebounds
