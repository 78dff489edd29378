with seen as (
    select
        meter_id,
        max_by(pole_id, last_event_ts) as reported_pole_id,
        min(first_event_ts) as first_seen_ts,
        max(last_event_ts) as last_seen_ts
    from {{ ref('int_meter_hour_edges') }}
    group by meter_id
),

-- The period that holds at the watermark, else the last one before it, else the first to come.
registered as (
    select meters.*
    from {{ ref('stg_meters') }} as meters
    cross join {{ ref('int_lake_range') }} as lake
    qualify
        row_number() over (
            partition by meters.meter_id
            order by
                (case when meters.valid_from > lake.watermark_ts then 1 else 0 end),
                abs(
                    {{ epoch_us('meters.valid_from') }}
                    - coalesce({{ epoch_us('lake.watermark_ts') }}, 0)
                ),
                meters.valid_to desc,
                meters.pole_id asc,
                meters.transformer_id asc,
                meters.feeder_id asc
        ) = 1
),

meters as (
    select
        registered.transformer_id,
        registered.feeder_id,
        registered.rated_kva,
        registered.latitude,
        registered.longitude,
        registered.time_zone,
        registered.valid_from,
        registered.valid_to,
        seen.reported_pole_id,
        seen.first_seen_ts,
        seen.last_seen_ts,
        coalesce(registered.meter_id, seen.meter_id) as meter_id,
        coalesce(registered.pole_id, seen.reported_pole_id) as pole_id,
        registered.meter_id is not null as is_registered,
        coalesce(registered.nominal_voltage_v, {{ number_var('nominal_voltage_v_default') }})
            as nominal_voltage_v
    from registered
    full outer join seen on registered.meter_id = seen.meter_id
)

select
    meters.meter_id,
    meters.pole_id,
    meters.reported_pole_id,
    meters.transformer_id,
    meters.feeder_id,
    meters.nominal_voltage_v,
    intervals.sample_interval_ms,
    intervals.interval_source,
    meters.rated_kva,
    meters.latitude,
    meters.longitude,
    coalesce(meters.time_zone, sites.time_zone, '{{ var("time_zone_default") }}') as time_zone,
    meters.is_registered,
    meters.valid_from,
    meters.valid_to,
    meters.first_seen_ts,
    meters.last_seen_ts
from meters
inner join {{ ref('int_meter_intervals') }} as intervals
    on meters.meter_id = intervals.meter_id
left join {{ ref('int_pole_sites') }} as sites on meters.pole_id = sites.pole_id
