{{ config(
    materialized='incremental',
    unique_key='event_id',
    incremental_strategy='delete+insert' if target.type == 'duckdb' else 'merge',
    full_refresh=false,
    on_schema_change='fail',
    partition_by=by_day('start_ts'),
    cluster_by=['pole_id', 'meter_id'],
    post_hook="delete from {{ this }} where event_id in (select event_id from {{ ref('voltage_events') }})"
) }}
{%- set columns = ['event_id', 'meter_id', 'pole_id', 'start_ts', 'end_ts', 'duration_s'] -%}
with gone as (
    select built.*
    from {{ built('voltage_events', columns) }} as built
    left join {{ ref('voltage_events') }} as standing on built.event_id = standing.event_id
    where standing.event_id is null
)

select
    gone.event_id,
    gone.meter_id,
    gone.pole_id,
    gone.start_ts,
    gone.end_ts,
    gone.duration_s,
    -- Two events may stand where one did.
    min_by(standing.event_id, standing.start_ts) as superseded_by,
    {{ timestamp_of_us((run_started_at.timestamp() * 1000000) | int) }} as superseded_at
from gone
left join {{ ref('voltage_events') }} as standing
    on
        gone.meter_id = standing.meter_id
        and gone.start_ts <= standing.end_ts
        and standing.start_ts <= gone.end_ts
group by
    gone.event_id, gone.meter_id, gone.pole_id, gone.start_ts, gone.end_ts, gone.duration_s
