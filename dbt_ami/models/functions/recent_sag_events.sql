{{ config(
    materialized='table_function',
    parameters=function_parameters({'since': 'instant'}),
    pre_hook='{{ search_lake(true) }}',
    post_hook='{{ search_lake(false) }}'
) }}
{%- set day_us = 86400000000 -%}
{%- set from_ts = instant_of('since') -%}
{%- set day_before = timestamp_of_us(epoch_us(from_ts) ~ ' - ' ~ day_us) -%}
{%- set threshold_v = sag_threshold_v('nominal_voltage_v') -%}
with thresholds as (
    select {{ sag_threshold_v('greatest(coalesce(max(nominal_voltage_v), 0), '
        ~ number_var('nominal_voltage_v_default') ~ ')') }} as largest_v
    from {{ ref('int_meter_periods') }}
),

low_copies as (
    select distinct
        live.meter_id,
        live.seq,
        live.event_ts
    from {{ live_readings() }} as live
    where
        live.event_ts >= {{ from_ts }}
        and live.voltage_v < (select thresholds.largest_v from thresholds)
),

-- A copy that is not low may be the one that counts.
kept as (
    select live.*
    from {{ live_readings() }} as live
    inner join low_copies
        on
            live.meter_id = low_copies.meter_id
            and live.seq = low_copies.seq
            and live.event_ts = low_copies.event_ts
    where live.event_ts >= {{ from_ts }}
    qualify
        row_number() over (
            partition by live.meter_id, live.seq, live.event_ts
            order by {{ copy_order('live.') }}
        ) = 1
),

described as (
    select
        kept.meter_id,
        coalesce(periods.epoch, 0) as epoch,
        kept.seq,
        kept.event_ts,
        kept.pole_id,
        periods.feeder_id,
        kept.voltage_v,
        coalesce(
            periods.nominal_voltage_v, {{ number_var('nominal_voltage_v_default') }}
        ) as nominal_voltage_v,
        coalesce(
            periods.sample_interval_ms,
            {{ (var('sample_interval_s_default') * 1000) | round | int }}
        ) as sample_interval_ms,
        nullif(array_to_string(kept.quality_flags, ','), '') as flag_text
    from kept
    left join {{ ref('int_meter_periods') }} as periods
        on
            kept.meter_id = periods.meter_id
            and kept.event_ts >= periods.valid_from
            and kept.event_ts < periods.valid_to
),

recent_low as (
    select
        meter_id,
        epoch,
        seq,
        event_ts,
        pole_id,
        feeder_id,
        voltage_v,
        nominal_voltage_v,
        sample_interval_ms,
        {{ has_flag('flag_text', 'last_gasp') }} as is_last_gasp
    from described
    where voltage_v < {{ threshold_v }} and {{ is_received('flag_text') }}
),

concerned as (
    select distinct meter_id from recent_low
),

-- What an event that goes on had before.
low as (
    select * from recent_low
    union all
    select
        built.meter_id,
        built.epoch,
        built.seq,
        built.event_ts,
        built.pole_id,
        built.feeder_id,
        built.voltage_v,
        built.nominal_voltage_v,
        built.sample_interval_ms,
        built.is_last_gasp
    from {{ ref('int_low_readings') }} as built
    inner join concerned
        on built.meter_id = concerned.meter_id
    left join recent_low as recent
        on
            built.meter_id = recent.meter_id
            and built.epoch = recent.epoch
            and built.seq = recent.seq
    where built.event_ts >= {{ day_before }} and recent.meter_id is null
),

received as (
    select
        live.meter_id,
        coalesce(periods.epoch, 0) as epoch,
        live.seq,
        live.event_ts
    from {{ live_readings() }} as live
    inner join concerned
        on live.meter_id = concerned.meter_id
    left join {{ ref('int_meter_periods') }} as periods
        on
            live.meter_id = periods.meter_id
            and live.event_ts >= periods.valid_from
            and live.event_ts < periods.valid_to
    where
        live.event_ts >= {{ from_ts }}
        and {{ is_received("array_to_string(live.quality_flags, ',')") }}
),

neighbours as (
    select
        meter_id,
        epoch,
        seq,
        max(event_ts) as event_ts
    from (
        select * from received
        union all
        select
            meter_id,
            epoch,
            seq,
            event_ts
        from {{ ref('int_low_neighbours') }}
        where event_ts >= {{ day_before }}
    ) as observed
    group by meter_id, epoch, seq
),

newest as (
    select
        meter_id,
        max(event_ts) as last_received_ts
    from received
    group by meter_id
),

watermark as (
    select max(live.event_ts) as watermark_ts
    from {{ live_readings() }} as live
    where live.event_ts >= {{ from_ts }}
),

{{ low_runs('low', 'neighbours') }},

ended as (
    select
        runs.*,
        runs.min_voltage_v / runs.nominal_voltage_v as min_voltage_pu,
        {{ sag_ended_by('runs', 'newest.last_received_ts', 'watermark.watermark_ts') }}
            as ended_by
    from low_runs as runs
    inner join newest on runs.meter_id = newest.meter_id
    cross join watermark
    where
        runs.end_ts >= {{ from_ts }}
        and {{ is_sag_event(
            '(runs.last_seq - runs.first_seq + 1)', 'runs.sample_interval_ms'
        ) }}
),

events as (
    select {{ sag_event_columns() }}
    from ended
)

select events.*
from events
left join {{ ref('voltage_events') }} as known
    on
        events.event_id = known.event_id
        and events.end_ts = known.end_ts
        and events.sample_count = known.sample_count
        and events.ended_by = known.ended_by
        and events.truncated_start = known.truncated_start
        and events.min_voltage_v = known.min_voltage_v
        and abs(events.mean_voltage_v - known.mean_voltage_v) < 1e-6
where known.event_id is null
