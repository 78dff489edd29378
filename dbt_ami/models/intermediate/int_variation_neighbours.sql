{{ restated_by_window('int_probed_windows', 'event_ts') }}
with outside as (
    select
        *,
        seq - lag(seq) over in_order as seq_step,
        {{ epoch_us('event_ts') }} - lag({{ epoch_us('event_ts') }}) over in_order as us_step,
        lead(seq) over in_order as next_seq
    from {{ ref('int_variation_readings') }}
    where side != 'normal'
    window in_order as (
        partition by meter_id, epoch, side
        order by seq
    )
),

{{ bridgeable_gaps('outside') }},

-- Every seq of which it matters whether it was observed, as for low runs.
probes as (
    select
        meter_id,
        epoch,
        probe_seq
    from gap_samples
    union distinct
    select
        meter_id,
        epoch,
        seq - 1 as probe_seq
    from outside
    where seq_step is null or seq_step > 1
    union distinct
    select
        meter_id,
        epoch,
        seq + 1 as probe_seq
    from outside
    where next_seq is null or next_seq > seq + 1
)

select
    readings.meter_id,
    readings.epoch,
    readings.seq,
    readings.event_ts
from {{ ref('readings') }} as readings
inner join probes
    on
        readings.meter_id = probes.meter_id
        and readings.epoch = probes.epoch
        and readings.seq = probes.probe_seq
where readings.is_received and {{ touched('readings.event_ts', 'int_probed_windows') }}
