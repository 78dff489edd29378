with gasps as (
    select
        meter_id,
        pole_id,
        event_ts
    from {{ ref('readings') }}
    where {{ has_flag('quality_flags', 'last_gasp') }} and is_received
),

returns as (
    select
        gasps.meter_id,
        gasps.event_ts,
        min(readings.event_ts) as return_ts
    from gasps
    inner join {{ ref('readings') }} as readings
        on gasps.meter_id = readings.meter_id and gasps.event_ts < readings.event_ts
    where
        readings.is_received
        and readings.voltage_v
        >= {{ number_var('ieee1159_interruption_pu') }} * readings.nominal_voltage_v
    group by gasps.meter_id, gasps.event_ts
)

select
    gasps.meter_id,
    returns.return_ts as end_ts,
    max(gasps.pole_id) as pole_id,
    min(gasps.event_ts) as start_ts
from gasps
left join returns
    on gasps.meter_id = returns.meter_id and gasps.event_ts = returns.event_ts
group by gasps.meter_id, returns.return_ts
