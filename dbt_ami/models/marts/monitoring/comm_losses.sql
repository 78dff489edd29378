{{ config(partition_by=by_day('start_ts'), cluster_by=['pole_id', 'meter_id']) }}
with hours as (
    select
        meter_id,
        hour_ts,
        max(sample_interval_ms) as sample_interval_ms,
        min(first_received_ts) as first_received_ts,
        max(last_received_ts) as last_received_ts
    from {{ ref('int_meter_hour_parts') }}
    where received_readings > 0
    group by meter_id, hour_ts
),

between_readings as (
    select
        meter_id,
        {{ epoch_us('from_ts') }} as from_us,
        {{ epoch_us('until_ts') }} as to_us,
        'reading' as ended_by
    from {{ ref('int_silences') }}
    union all
    select
        hours.meter_id,
        coalesce(
            {{ epoch_us('lag(hours.last_received_ts) over in_order') }}
            + hours.sample_interval_ms * 1000,
            {{ epoch_us('lake.oldest_event_ts') }}
        ) as from_us,
        {{ epoch_us('hours.first_received_ts') }} as to_us,
        'reading' as ended_by
    from hours
    cross join {{ ref('int_lake_range') }} as lake
    window in_order as (
        partition by hours.meter_id
        order by hours.hour_ts
    )
),

newest as (
    select
        meter_id,
        max(last_received_ts) as last_received_ts
    from hours
    group by meter_id
),

since_the_newest as (
    select
        intervals.meter_id,
        coalesce(
            {{ epoch_us('newest.last_received_ts') }} + intervals.sample_interval_ms * 1000,
            {{ epoch_us('lake.oldest_event_ts') }}
        ) as from_us,
        {{ epoch_us('lake.watermark_ts') }} as to_us,
        'open' as ended_by
    from {{ ref('int_meter_intervals') }} as intervals
    left join newest on intervals.meter_id = newest.meter_id
    cross join {{ ref('int_lake_range') }} as lake
),

silences as (
    select * from between_readings
    union all
    select * from since_the_newest
),

unexplained as (
    select silences.*
    from silences
    left join {{ ref('int_outages') }} as outages
        on
            silences.meter_id = outages.meter_id
            and silences.from_us > {{ epoch_us('outages.start_ts') }}
            and silences.from_us < {{ epoch_us('outages.until_ts') }}
    where outages.meter_id is null
),

in_service as (
    select
        silences.meter_id,
        service.pole_id,
        service.feeder_id,
        service.sample_interval_ms,
        greatest(
            silences.from_us,
            {{ epoch_us('service.service_from') }},
            {{ epoch_us('lake.oldest_event_ts') }}
        ) as from_us,
        least(silences.to_us, {{ epoch_us('service.service_to') }}) as to_us,
        case
            when {{ epoch_us('service.service_to') }} < silences.to_us then 'removal'
            else silences.ended_by
        end as ended_by
    from unexplained as silences
    inner join {{ ref('int_meter_service') }} as service
        on silences.meter_id = service.meter_id
    cross join {{ ref('int_lake_range') }} as lake
)

select
    {{ text_hash(['meter_id', 'from_us']) }} as comm_loss_id,
    meter_id,
    pole_id,
    feeder_id,
    {{ timestamp_of_us('from_us') }} as start_ts,
    case when ended_by != 'open' then {{ timestamp_of_us('to_us') }} end as end_ts,
    {{ timestamp_of_us('to_us') }} as until_ts,
    (to_us - from_us) / cast(1000000 as {{ type_double() }}) as duration_s,
    ended_by,
    ended_by = 'open' as is_open,
    sample_interval_ms / cast(1000 as {{ type_double() }}) as sample_interval_s
from in_service
where to_us - from_us > {{ silence_limit_us('sample_interval_ms') }}
