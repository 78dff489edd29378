{{ config(partition_by=by_day('local_date', 'date'), cluster_by=['pole_id', 'meter_id']) }}
-- Every hour of a meter brings its day, so that a day without readings shows as well.
with moments as (
    select
        meter_id,
        pole_id,
        hour_ts as at_ts,
        nominal_voltage_v,
        false as is_valid,
        cast(null as {{ type_double() }}) as rms_voltage_v
    from {{ ref('int_meter_hours') }}
    union all
    select
        meter_id,
        pole_id,
        interval_ts as at_ts,
        nominal_voltage_v,
        is_valid,
        case when is_valid then rms_voltage_v end as rms_voltage_v
    from {{ ref('int_voltage_10min') }}
),

judged as (
    select
        moments.meter_id,
        moments.pole_id,
        moments.nominal_voltage_v,
        moments.is_valid,
        moments.rms_voltage_v,
        meters.time_zone,
        meters.sample_interval_ms,
        {{ local_date('moments.at_ts', 'meters.time_zone') }} as local_date,
        case
            when moments.is_valid and not {{ follows_en50160('moments.nominal_voltage_v') }}
                then {{ ansi_range('moments.rms_voltage_v', 'moments.nominal_voltage_v') }}
        end as ansi_range,
        moments.is_valid and {{ follows_en50160('moments.nominal_voltage_v') }} as is_en50160,
        interrupted.meter_id is not null as is_interrupted,
        {{ within_voltage_limits('moments.rms_voltage_v', 'moments.nominal_voltage_v') }}
            as is_within_limits,
        {{ within_en50160_wide_limits('moments.rms_voltage_v', 'moments.nominal_voltage_v') }}
            as is_within_wide_limits
    from moments
    inner join {{ ref('dim_meter') }} as meters on moments.meter_id = meters.meter_id
    left join {{ ref('int_interrupted_intervals') }} as interrupted
        on
            moments.is_valid
            and moments.meter_id = interrupted.meter_id
            and moments.at_ts = interrupted.interval_ts
),

days as (
    select
        meter_id,
        local_date,
        time_zone,
        max(pole_id) as pole_id,
        max(nominal_voltage_v) as nominal_voltage_v,
        max(sample_interval_ms) as sample_interval_ms,
        {{ count_where('is_valid') }} as valid_intervals,
        {{ count_where('ansi_range is not null') }} as ansi_intervals,
        {{ count_where("ansi_range = 'a'") }} as range_a_intervals,
        {{ count_where("ansi_range = 'b'") }} as range_b_intervals,
        {{ count_where("ansi_range = 'out'") }} as out_intervals,
        {{ count_where('is_en50160 and is_interrupted') }} as en50160_interrupted_intervals,
        {{ count_where('is_en50160 and not is_interrupted') }} as en50160_intervals,
        {{ count_where('is_en50160 and not is_interrupted and is_within_limits') }}
            as en50160_within_intervals,
        {{ count_where('is_en50160 and not is_interrupted and is_within_wide_limits') }}
            as en50160_within_wide_intervals,
        min(rms_voltage_v) as min_rms_v,
        avg(rms_voltage_v) as mean_rms_v,
        max(rms_voltage_v) as max_rms_v
    from judged
    group by meter_id, local_date, time_zone
)

select
    meter_id,
    local_date,
    time_zone,
    pole_id,
    nominal_voltage_v,
    case
        when sample_interval_ms * 1000 > {{ us_var('rms_10min_max_interval_s') }}
            then 'not_assessable'
        when valid_intervals = 0 then 'no_valid_interval'
        else 'assessed'
    end as status,
    {{ ten_minutes_between('local_date', 'local_date + 1', 'time_zone') }} as day_intervals,
    valid_intervals,
    ansi_intervals,
    range_a_intervals,
    range_b_intervals,
    out_intervals,
    range_a_intervals / nullif(cast(ansi_intervals as {{ type_double() }}), 0) as range_a_share,
    range_b_intervals / nullif(cast(ansi_intervals as {{ type_double() }}), 0) as range_b_share,
    out_intervals / nullif(cast(ansi_intervals as {{ type_double() }}), 0) as out_share,
    en50160_interrupted_intervals,
    en50160_intervals,
    en50160_within_intervals,
    en50160_within_wide_intervals,
    en50160_within_intervals / nullif(cast(en50160_intervals as {{ type_double() }}), 0)
        as en50160_within_share,
    min_rms_v,
    mean_rms_v,
    max_rms_v
from days
