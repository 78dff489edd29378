with hours as (
    select
        hours.meter_id,
        hours.pole_id,
        hours.hour_ts,
        -- Clocks that run into each other never make an hour longer.
        least(hours.covered_s, 3600) as observed_s,
        intervals.sample_interval_ms * 1000 <= {{ us_var('sarfi_max_interval_s') }} as is_assessable
    from {{ ref('int_meter_hours') }} as hours
    inner join {{ ref('int_meter_intervals') }} as intervals
        on hours.meter_id = intervals.meter_id
    where hours.covered_s > 0
)

select
    hours.pole_id,
    pole_feeders.feeder_id,
    hours.hour_ts,
    {{ count_where('hours.is_assessable') }} as meters_assessed,
    {{ count_where('not hours.is_assessable') }} as meters_not_assessable,
    sum(case when hours.is_assessable then hours.observed_s else 0 end) as observed_s
from hours
left join {{ ref('int_pole_feeders') }} as pole_feeders
    on hours.pole_id = pole_feeders.pole_id
group by hours.pole_id, pole_feeders.feeder_id, hours.hour_ts
