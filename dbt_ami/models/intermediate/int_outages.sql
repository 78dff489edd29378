-- Within the hour of the gasp the readings tell; the hours after it by their first one with power.
with seen as (
    select
        gasps.meter_id,
        gasps.epoch,
        gasps.seq,
        coalesce(gasps.restored_ts, min(later_hours.first_powered_ts)) as restored_ts
    from {{ ref('int_gasp_returns') }} as gasps
    left join {{ ref('int_meter_hour_parts') }} as later_hours
        on
            gasps.meter_id = later_hours.meter_id
            and gasps.restored_ts is null
            and gasps.event_ts < later_hours.hour_ts
    group by gasps.meter_id, gasps.epoch, gasps.seq, gasps.restored_ts
),

-- A meter that gasps again before it is back is in the same outage.
ranked as (
    select
        gasps.meter_id,
        gasps.epoch,
        gasps.seq,
        gasps.event_ts,
        gasps.pole_id,
        gasps.feeder_id,
        gasps.voltage_v,
        gasps.nominal_voltage_v,
        gasps.sample_interval_ms,
        seen.restored_ts,
        row_number() over (
            partition by gasps.meter_id, seen.restored_ts
            order by gasps.event_ts, gasps.epoch, gasps.seq
        ) as gasp_number
    from {{ ref('int_variation_readings') }} as gasps
    inner join seen
        on
            gasps.meter_id = seen.meter_id
            and gasps.epoch = seen.epoch
            and gasps.seq = seen.seq
    where gasps.is_last_gasp
),

removals as (
    select
        meter_id,
        max(service_to) as service_to
    from {{ ref('int_meter_service') }}
    group by meter_id
)

select
    ranked.meter_id,
    ranked.pole_id,
    ranked.feeder_id,
    ranked.nominal_voltage_v,
    ranked.sample_interval_ms,
    ranked.seq as gasp_seq,
    ranked.voltage_v as gasp_voltage_v,
    ranked.event_ts as start_ts,
    case
        when ranked.restored_ts is not null then 'power'
        when
            removals.service_to > ranked.event_ts
            and removals.service_to <= lake.watermark_ts
            then 'removal'
        else 'open'
    end as ended_by,
    coalesce(
        ranked.restored_ts,
        case
            when removals.service_to > ranked.event_ts
                then least(removals.service_to, lake.watermark_ts)
            else lake.watermark_ts
        end
    ) as until_ts
from ranked
left join removals on ranked.meter_id = removals.meter_id
cross join {{ ref('int_lake_range') }} as lake
where ranked.gasp_number = 1
