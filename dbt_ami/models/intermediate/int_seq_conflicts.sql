-- Two readings of an epoch with the same seq and different event_ts have different anchors
-- (event_ts - seq·T), or lie in hours whose seq ranges overlap: only such hours are read again.
with hours as (
    select
        edges.meter_id,
        edges.hour_ts,
        edges.min_seq,
        edges.max_seq,
        edges.anchor_range_us,
        epochs.epoch
    from {{ ref('int_meter_hour_edges') }} as edges
    inner join {{ ref('int_meter_epochs') }} as epochs
        on
            edges.meter_id = epochs.meter_id
            and edges.first_event_ts >= epochs.valid_from
            and edges.first_event_ts < epochs.valid_to
),

neighbourhoods as (
    select
        meter_id,
        hour_ts,
        anchor_range_us,
        min_seq,
        max_seq,
        max(max_seq) over (
            partition by meter_id, epoch
            order by hour_ts
            rows between unbounded preceding and 1 preceding
        ) as max_seq_before,
        min(min_seq) over (
            partition by meter_id, epoch
            order by hour_ts
            rows between 1 following and unbounded following
        ) as min_seq_after
    from hours
),

suspects as (
    select
        meter_id,
        hour_ts
    from neighbourhoods
    where anchor_range_us > 0 or max_seq_before >= min_seq or min_seq_after <= max_seq
),

repeated as (
    select
        readings.meter_id,
        epochs.epoch,
        readings.seq,
        readings.event_ts,
        row_number() over (
            partition by readings.meter_id, epochs.epoch, readings.seq
            order by readings.event_ts
        ) as occurrence
    from {{ ref('stg_readings') }} as readings
    inner join suspects
        on
            readings.meter_id = suspects.meter_id
            and {{ floor_time('readings.event_ts', 3600) }} = suspects.hour_ts
    inner join {{ ref('int_meter_epochs') }} as epochs
        on
            readings.meter_id = epochs.meter_id
            and readings.event_ts >= epochs.valid_from
            and readings.event_ts < epochs.valid_to
)

select
    meter_id,
    epoch,
    seq,
    event_ts
from repeated
where occurrence > 1
