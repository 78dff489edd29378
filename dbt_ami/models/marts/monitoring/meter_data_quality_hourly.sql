{{ config(partition_by=by_day('hour_ts'), cluster_by=['pole_id', 'meter_id']) }}
with joined as (
    select
        latency.latency_median_s,
        latency.latency_p95_s,
        latency.latency_max_s,
        coalesce(hours.meter_id, arrivals.meter_id) as meter_id,
        coalesce(hours.pole_id, arrivals.pole_id) as pole_id,
        coalesce(hours.hour_ts, arrivals.hour_ts) as hour_ts,
        coalesce(hours.is_in_service, false) as is_in_service,
        coalesce(hours.is_registered, false) as is_registered,
        coalesce(hours.expected, 0) as expected,
        coalesce(hours.received, 0) as received,
        coalesce(hours.missing, 0) as missing,
        coalesce(hours.lost, 0) as lost,
        coalesce(hours.not_sampled, 0) as not_sampled,
        coalesce(arrivals.late, 0) as late,
        coalesce(arrivals.estimated_readings, 0) as estimated_readings,
        coalesce(arrivals.placeholder_readings, 0) as placeholder_readings,
        coalesce(arrivals.stored_rows, 0) as stored_rows,
        coalesce(arrivals.duplicates, 0) as duplicates,
        coalesce(arrivals.conflicting_copies, 0) as conflicting_copies,
        coalesce(arrivals.repeated_seq, 0) as repeated_seq
    from {{ ref('int_meter_hours') }} as hours
    -- An hour may hold nothing but a reading that repeats a seq.
    full outer join {{ ref('int_meter_arrivals_hourly') }} as arrivals
        on
            hours.meter_id = arrivals.meter_id
            and hours.pole_id = arrivals.pole_id
            and hours.hour_ts = arrivals.hour_ts
    left join {{ ref('int_meter_latency_hourly') }} as latency
        on
            hours.meter_id = latency.meter_id
            and hours.pole_id = latency.pole_id
            and hours.hour_ts = latency.hour_ts
)

select
    meter_id,
    pole_id,
    hour_ts,
    is_in_service,
    is_registered,
    expected,
    received,
    missing,
    lost,
    not_sampled,
    case
        when expected > 0 then least(1, received / cast(expected as {{ type_double() }}))
    end as coverage,
    late,
    estimated_readings,
    placeholder_readings,
    stored_rows,
    duplicates,
    conflicting_copies,
    repeated_seq,
    conflicting_copies + repeated_seq as conflicts,
    latency_median_s,
    latency_p95_s,
    latency_max_s
from joined
