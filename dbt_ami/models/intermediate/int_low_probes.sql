with low as (
    select
        low.meter_id,
        low.epoch,
        low.seq,
        low.event_ts,
        low.sample_interval_ms,
        coalesce(borders.is_calm, false) as is_calm,
        low.seq - lag(low.seq) over in_order as seq_step,
        {{ epoch_us('low.event_ts') }} - lag({{ epoch_us('low.event_ts') }}) over in_order
            as us_step,
        lead(low.seq) over in_order as next_seq
    from {{ ref('int_low_readings') }} as low
    left join {{ ref('int_meter_hour_borders') }} as borders
        on
            low.meter_id = borders.meter_id
            and {{ floor_time('low.event_ts', 3600) }} = borders.hour_ts
    window in_order as (
        partition by low.meter_id, low.epoch
        order by low.seq
    )
),

{{ bridgeable_gaps('low', 'not is_calm') }}

select
    meter_id,
    epoch,
    probe_seq as seq
from gap_samples
union distinct
select
    meter_id,
    epoch,
    seq - 1 as seq
from low
where not is_calm and (seq_step is null or seq_step > 1)
union distinct
select
    meter_id,
    epoch,
    seq + 1 as seq
from low
where not is_calm and (next_seq is null or next_seq > seq + 1)
