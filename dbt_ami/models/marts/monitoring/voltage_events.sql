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
        case
            when events.ends_before_reading then 'recovery'
            when events.ends_in_outage then 'outage'
            when
                newest.last_received_ts <= events.end_ts
                and {{ epoch_us('lake.watermark_ts') }} - {{ epoch_us('events.end_ts') }}
                <= events.sample_interval_ms * 1000 + {{ us_var('late_after_s') }}
                then 'open'
            else 'gap'
        end as ended_by
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
    {{ text_hash(['meter_id', epoch_us('start_ts'), 'first_seq']) }} as event_id,
    meter_id,
    pole_id,
    start_ts,
    end_ts,
    duration_s,
    min_voltage_v,
    voltage_sum_v / sample_count as mean_voltage_v,
    min_voltage_pu,
    sample_count,
    missing_count,
    case
        when
            sample_count * sample_interval_ms * 1000 >= {{ us_var('sag_min_duration_s') }}
            then 'observed'
        else 'inferred'
    end as evidence,
    sample_interval_ms * 1000 > {{ us_var('sag_min_duration_s') }} as coarse,
    not begins_after_reading as truncated_start,
    ended_by != 'recovery' as truncated_end,
    ended_by,
    ended_by = 'open' as is_open,
    {{ sag_severity('min_voltage_pu', 'duration_s') }} as severity,
    {{ ieee1159_low_class('min_voltage_pu', 'duration_s') }} as ieee1159_class,
    scope
from ended
