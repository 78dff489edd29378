{{ config(partition_by=by_day('start_ts'), cluster_by=['pole_id', 'meter_id']) }}
-- What readings show and what a last gasp tells are one event where they meet.
with spans as (
    select
        meter_id,
        side,
        first_seq,
        {{ epoch_us('start_ts') }} as start_us,
        {{ epoch_us('end_ts') }} as end_us,
        {{ epoch_us('end_ts') }} + sample_interval_ms * 1000 as until_us,
        pole_id,
        feeder_id,
        nominal_voltage_v,
        sample_interval_ms,
        sample_count,
        missing_count,
        duration_s,
        extreme_voltage_v,
        false as is_outage,
        false as is_dark,
        false as is_still_out,
        begins_after_reading,
        ends_before_reading
    from {{ ref('int_variation_runs') }}
    union all
    select
        meter_id,
        'low' as side,
        gasp_seq as first_seq,
        {{ epoch_us('start_ts') }} as start_us,
        {{ epoch_us('until_ts') }} as end_us,
        {{ epoch_us('until_ts') }} as until_us,
        pole_id,
        feeder_id,
        nominal_voltage_v,
        sample_interval_ms,
        0 as sample_count,
        0 as missing_count,
        cast(null as {{ type_double() }}) as duration_s,
        cast(0 as {{ type_double() }}) as extreme_voltage_v,
        true as is_outage,
        ended_by != 'power' as is_dark,
        ended_by = 'open' as is_still_out,
        true as begins_after_reading,
        ended_by = 'power' as ends_before_reading
    from {{ ref('int_outages') }}
),

steps as (
    select
        *,
        max(end_us) over (
            partition by meter_id, side
            order by start_us, end_us, first_seq
            rows between unbounded preceding and 1 preceding
        ) as end_before_us
    from spans
),

numbered as (
    select
        *,
        sum(case when start_us <= end_before_us then 0 else 1 end) over (
            partition by meter_id, side
            order by start_us, end_us, first_seq
            rows between unbounded preceding and current row
        ) as event_number
    from steps
),

-- Where an outage and a run of readings begin or end together, the run knows more.
events as (
    select
        meter_id,
        side,
        min_by(first_seq, start_us) as first_seq,
        min(start_us) as start_us,
        max(end_us) as end_us,
        min_by(pole_id, start_us) as pole_id,
        {{ first_text('feeder_id', 'start_us') }} as feeder_id,
        min_by(nominal_voltage_v, start_us) as nominal_voltage_v,
        max(sample_interval_ms) as sample_interval_ms,
        cast(sum(sample_count) as {{ dbt.type_bigint() }}) as sample_count,
        cast(sum(missing_count) as {{ dbt.type_bigint() }}) as missing_count,
        case
            when count(*) = 1 and max(case when is_outage then 1 else 0 end) = 0
                then max(duration_s)
            else (max(until_us) - min(start_us)) / cast(1000000 as {{ type_double() }})
        end as duration_s,
        case when side = 'low' then min(extreme_voltage_v) else max(extreme_voltage_v) end
            as extreme_voltage_v,
        max(case when is_outage then 1 else 0 end) = 1 as includes_outage,
        max(case when is_dark then 1 else 0 end) = 1 as is_dark,
        max(case when is_still_out then 1 else 0 end) = 1 as is_still_out,
        min_by(
            case when begins_after_reading then 1 else 0 end,
            start_us * 2 + case when is_outage then 1 else 0 end
        ) = 1 as begins_after_reading,
        max_by(
            case when ends_before_reading then 1 else 0 end,
            end_us * 2 + case when is_outage then 0 else 1 end
        ) = 1 as ends_before_reading
    from numbered
    group by meter_id, side, event_number
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
        round(events.extreme_voltage_v / events.nominal_voltage_v, 9) as extreme_voltage_pu,
        case
            when events.is_dark then 'outage'
            when events.ends_before_reading then 'recovery'
            when
                {{ epoch_us('newest.last_received_ts') }} <= events.end_us
                and {{ epoch_us('lake.watermark_ts') }} - events.end_us
                <= events.sample_interval_ms * 1000 + {{ us_var('late_after_s') }}
                then 'open'
            else 'gap'
        end as ended_by
    from events
    inner join newest on events.meter_id = newest.meter_id
    cross join {{ ref('int_lake_range') }} as lake
)

select
    {{ text_hash(['meter_id', 'start_us', 'first_seq']) }} as event_id,
    meter_id,
    pole_id,
    feeder_id,
    side,
    {{ timestamp_of_us('start_us') }} as start_ts,
    {{ timestamp_of_us('end_us') }} as end_ts,
    duration_s,
    extreme_voltage_v,
    extreme_voltage_pu,
    sample_count,
    missing_count,
    case
        when side = 'low'
            then {{ ieee1159_low_class('extreme_voltage_pu', 'duration_s') }}
        else {{ ieee1159_high_class('extreme_voltage_pu', 'duration_s') }}
    end as ieee1159_class,
    includes_outage,
    not begins_after_reading as truncated_start,
    ended_by != 'recovery' as truncated_end,
    ended_by,
    ended_by = 'open' or is_still_out as is_open,
    sample_interval_ms / cast(1000 as {{ type_double() }}) as sample_interval_s,
    sample_interval_ms * 1000 > {{ us_var('sarfi_max_interval_s') }} as coarse
from ended
