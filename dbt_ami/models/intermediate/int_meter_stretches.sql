with hours as (
    select
        meter_id,
        pole_id,
        first_event_ts,
        last_event_ts,
        case
            when
                {{ epoch_us('first_event_ts') }}
                - lag({{ epoch_us('last_event_ts') }}) over in_order
                <= {{ var('unregistered_max_silence_days') }} * {{ 86400 * 1000000 }} then 0
            else 1
        end as begins
    from {{ ref('int_meter_hour_edges') }}
    window in_order as (
        partition by meter_id
        order by hour_ts
    )
),

numbered_hours as (
    select
        *,
        sum(begins) over (
            partition by meter_id
            order by first_event_ts
            rows between unbounded preceding and current row
        ) as stretch
    from hours
)

select
    meter_id,
    cast(stretch as {{ dbt.type_bigint() }}) as stretch,
    max_by(pole_id, last_event_ts) as pole_id,
    min(first_event_ts) as first_event_ts,
    max(last_event_ts) as last_event_ts,
    lead(min(first_event_ts)) over (
        partition by meter_id
        order by stretch
    ) as next_from
from numbered_hours
group by meter_id, stretch
