{{ config(partition_by=by_day('week_start_date', 'date'), cluster_by=['pole_id', 'meter_id']) }}
with weeks as (
    select
        meter_id,
        time_zone,
        {{ iso_week_start('local_date') }} as week_start_date,
        max(pole_id) as pole_id,
        cast(sum(valid_intervals) as {{ dbt.type_bigint() }}) as valid_intervals,
        cast(sum(en50160_interrupted_intervals) as {{ dbt.type_bigint() }})
            as interrupted_intervals,
        cast(sum(en50160_intervals) as {{ dbt.type_bigint() }}) as assessed_intervals,
        cast(sum(en50160_within_intervals) as {{ dbt.type_bigint() }}) as within_intervals,
        cast(sum(en50160_within_wide_intervals) as {{ dbt.type_bigint() }})
            as within_wide_intervals,
        max(case when status = 'not_assessable' then 1 else 0 end) = 1 as is_not_assessable,
        min(min_rms_v) as min_rms_v,
        max(max_rms_v) as max_rms_v
    from {{ ref('voltage_quality_daily') }}
    where {{ follows_en50160('nominal_voltage_v') }}
    group by meter_id, time_zone, {{ iso_week_start('local_date') }}
),

measured as (
    select
        *,
        {{ ten_minutes_between('week_start_date', 'week_start_date + 7', 'time_zone') }}
            as week_intervals,
        {{ local_midnight('week_start_date + 7', 'time_zone') }} as week_end_ts
    from weeks
)

select
    measured.meter_id,
    measured.week_start_date,
    {{ iso_week('measured.week_start_date') }} as iso_week,
    measured.time_zone,
    measured.pole_id,
    measured.week_end_ts <= lake.watermark_ts as is_complete,
    measured.week_intervals,
    measured.valid_intervals,
    measured.interrupted_intervals,
    measured.assessed_intervals,
    measured.within_intervals,
    measured.within_wide_intervals,
    measured.within_intervals
    / nullif(cast(measured.assessed_intervals as {{ type_double() }}), 0) as within_share,
    measured.min_rms_v,
    measured.max_rms_v,
    case
        when measured.is_not_assessable then 'not_assessable'
        when
            measured.assessed_intervals
            < {{ number_var('en50160_min_coverage') }} * measured.week_intervals
            then 'insufficient_data'
        when
            measured.within_intervals
            >= {{ number_var('en50160_min_share') }} * measured.assessed_intervals
            and measured.within_wide_intervals = measured.assessed_intervals then 'pass'
        else 'fail'
    end as verdict
from measured
cross join {{ ref('int_lake_range') }} as lake
