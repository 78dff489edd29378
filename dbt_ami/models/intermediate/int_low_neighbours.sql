with low as (
    select
        low.*,
        borders.previous_seq,
        borders.previous_event_ts,
        borders.next_seq,
        borders.next_event_ts
    from {{ ref('int_low_readings') }} as low
    inner join {{ ref('int_meter_hour_borders') }} as borders
        on
            low.meter_id = borders.meter_id
            and {{ floor_time('low.event_ts', 3600) }} = borders.hour_ts
    where borders.is_calm
),

-- Where the hour is calm, the readings beside a low one are known with it; their clock runs on to
-- within T/2.
observed as (
    select
        meter_id,
        epoch,
        coalesce(seq - seq_step_before, previous_seq) as seq,
        case
            when seq_step_before is null then previous_event_ts
            else {{ timestamp_of_us(
                epoch_us('event_ts') ~ ' - seq_step_before * sample_interval_ms * 1000'
            ) }}
        end as event_ts,
        seq_step_before is null as is_exact
    from low
    where seq_step_before is not null or previous_seq is not null
    union all
    select
        meter_id,
        epoch,
        coalesce(seq + seq_step_after, next_seq) as seq,
        case
            when seq_step_after is null then next_event_ts
            else {{ timestamp_of_us(
                epoch_us('event_ts') ~ ' + seq_step_after * sample_interval_ms * 1000'
            ) }}
        end as event_ts,
        seq_step_after is null as is_exact
    from low
    where seq_step_after is not null or next_seq is not null
    union all
    select
        probed.meter_id,
        probed.epoch,
        probed.seq,
        probed.event_ts,
        true as is_exact
    from {{ ref('int_low_probed') }} as probed
    inner join {{ ref('int_low_probes') }} as probes
        on
            probed.meter_id = probes.meter_id
            and probed.epoch = probes.epoch
            and probed.seq = probes.seq
)

select
    meter_id,
    epoch,
    seq,
    coalesce(max(case when is_exact then event_ts end), max(event_ts)) as event_ts
from observed
group by meter_id, epoch, seq
