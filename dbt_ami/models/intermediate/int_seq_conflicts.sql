-- Readings of one seq lie in one hour, or in hours whose seq ranges overlap.
with suspects as (
    select
        meter_id,
        seq,
        event_ts
    from {{ ref('int_seq_repeats') }}
    union distinct
    select
        readings.meter_id,
        readings.seq,
        readings.event_ts
    from {{ ref('stg_readings') }} as readings
    inner join {{ ref('int_seq_overlaps') }} as overlapping
        on
            readings.meter_id = overlapping.meter_id
            and {{ floor_time('readings.event_ts', 3600) }} = overlapping.hour_ts
    where {{ in_windows('readings.event_ts', ref('int_seq_overlaps'), 'hour_ts') }}
),

repeated as (
    select
        suspects.meter_id,
        epochs.epoch,
        suspects.seq,
        suspects.event_ts,
        row_number() over (
            partition by suspects.meter_id, epochs.epoch, suspects.seq
            order by suspects.event_ts
        ) as occurrence
    from suspects
    inner join {{ ref('int_meter_epochs') }} as epochs
        on
            suspects.meter_id = epochs.meter_id
            and suspects.event_ts >= epochs.valid_from
            and suspects.event_ts < epochs.valid_to
)

select
    meter_id,
    epoch,
    seq,
    event_ts
from repeated
where occurrence > 1
