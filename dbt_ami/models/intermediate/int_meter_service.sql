with registered as (
    select
        meter_id,
        pole_id,
        transformer_id,
        feeder_id,
        nominal_voltage_v,
        rated_kva,
        time_zone,
        valid_from,
        valid_to
    from {{ ref('stg_meters') }}
    qualify
        row_number() over (
            partition by meter_id, valid_from
            order by valid_to desc, pole_id asc, transformer_id asc, feeder_id asc
        ) = 1
),

registered_periods as (
    select
        *,
        lag(valid_from) over in_order as previous_from,
        lead(valid_from) over in_order as next_from
    from registered
    window in_order as (
        partition by meter_id
        order by valid_from
    )
),

seen as (
    select
        meter_id,
        max(last_event_ts) as last_event_ts
    from {{ ref('int_meter_stretches') }}
    group by meter_id
),

-- What a meter that the registry does not know shows of its service. A clock that fell back to its
-- first day makes a stretch of its own.
stretches as (
    select stretches.*
    from {{ ref('int_meter_stretches') }} as stretches
    left join registered on stretches.meter_id = registered.meter_id
    where registered.meter_id is null
),

periods as (
    select
        meter_id,
        pole_id,
        transformer_id,
        feeder_id,
        nominal_voltage_v,
        rated_kva,
        time_zone,
        true as is_registered,
        valid_from as service_from,
        least(coalesce(valid_to, {{ far_future() }}), coalesce(next_from, {{ far_future() }}))
            as service_to,
        case when previous_from is null then {{ far_past() }} else valid_from end
            as attributes_from,
        coalesce(next_from, {{ far_future() }}) as attributes_to
    from registered_periods
    union all
    select
        stretches.meter_id,
        stretches.pole_id,
        cast(null as {{ dbt.type_string() }}) as transformer_id,
        cast(null as {{ dbt.type_string() }}) as feeder_id,
        {{ number_var('nominal_voltage_v_default') }} as nominal_voltage_v,
        cast(null as {{ type_double() }}) as rated_kva,
        cast(null as {{ dbt.type_string() }}) as time_zone,
        false as is_registered,
        stretches.first_event_ts as service_from,
        case
            when stretches.next_from is null then {{ far_future() }}
            else {{ timestamp_of_us(
                epoch_us('stretches.last_event_ts') ~ ' + intervals.sample_interval_ms * 1000'
            ) }}
        end as service_to,
        case when stretches.stretch = 1 then {{ far_past() }} else stretches.first_event_ts end
            as attributes_from,
        coalesce(stretches.next_from, {{ far_future() }}) as attributes_to
    from stretches
    inner join {{ ref('int_meter_intervals') }} as intervals
        on stretches.meter_id = intervals.meter_id
)

select
    periods.meter_id,
    periods.pole_id,
    periods.transformer_id,
    periods.feeder_id,
    periods.nominal_voltage_v,
    periods.rated_kva,
    periods.time_zone,
    periods.is_registered,
    intervals.sample_interval_ms,
    periods.service_from,
    periods.service_to,
    periods.attributes_from,
    periods.attributes_to,
    greatest(periods.service_from, lake.oldest_hour_ts) as expected_from,
    -- The sample that is newest covers time beyond the watermark; it is expected whole.
    least(
        periods.service_to,
        greatest(
            lake.watermark_ts,
            coalesce(
                {{ timestamp_of_us(
                    epoch_us('seen.last_event_ts') ~ ' + intervals.sample_interval_ms * 1000'
                ) }},
                lake.watermark_ts
            )
        )
    ) as expected_to
from periods
inner join {{ ref('int_meter_intervals') }} as intervals
    on periods.meter_id = intervals.meter_id
left join seen on periods.meter_id = seen.meter_id
cross join {{ ref('int_lake_range') }} as lake
-- Without a reading there is no watermark and nothing to expect.
where lake.watermark_ts is not null
