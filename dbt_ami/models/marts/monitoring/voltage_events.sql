{{ config(partition_by=by_day('start_ts'), cluster_by=['pole_id', 'meter_id']) }}
with events as (
    select
        *,
        min_voltage_v / nominal_voltage_v as min_voltage_pu
    from {{ ref('int_low_runs') }}
    where {{ is_sag_event('(last_seq - first_seq + 1)', 'sample_interval_ms') }}
),

newest as (
    select
        meter_id,
        max(last_received_ts) as last_received_ts
    from {{ ref('int_meter_hour_parts') }}
    group by meter_id
),

ended as (
    select
        events.*,
        scopes.scope,
        {{ sag_ended_by('events', 'newest.last_received_ts', 'lake.watermark_ts') }} as ended_by
    from events
    inner join {{ ref('int_event_scopes') }} as scopes
        on
            events.meter_id = scopes.meter_id
            and events.epoch = scopes.epoch
            and events.first_seq = scopes.first_seq
    inner join newest on events.meter_id = newest.meter_id
    cross join {{ ref('int_lake_range') }} as lake
)

select
    {{ sag_event_columns() }},
    scope
from ended
