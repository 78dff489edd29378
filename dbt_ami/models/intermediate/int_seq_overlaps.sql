with ranges as (
    select
        edges.meter_id,
        epochs.epoch,
        edges.hour_ts,
        edges.min_seq,
        edges.max_seq
    from {{ ref('int_meter_hour_edges') }} as edges
    inner join {{ ref('int_meter_hour_anchors') }} as anchors
        on edges.meter_id = anchors.meter_id and edges.hour_ts = anchors.hour_ts
    inner join {{ ref('int_meter_epochs') }} as epochs
        on
            edges.meter_id = epochs.meter_id
            and edges.first_event_ts >= epochs.valid_from
            and edges.first_event_ts < epochs.valid_to
    where not anchors.is_restless
    union all
    select
        readings.meter_id,
        epochs.epoch,
        {{ floor_time('readings.event_ts', 3600) }} as hour_ts,
        min(readings.seq) as min_seq,
        max(readings.seq) as max_seq
    from {{ ref('int_restless_readings') }} as readings
    inner join {{ ref('int_meter_epochs') }} as epochs
        on
            readings.meter_id = epochs.meter_id
            and readings.event_ts >= epochs.valid_from
            and readings.event_ts < epochs.valid_to
    group by readings.meter_id, epochs.epoch, {{ floor_time('readings.event_ts', 3600) }}
),

neighbourhoods as (
    select
        meter_id,
        hour_ts,
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
    from ranges
)

select distinct
    meter_id,
    hour_ts
from neighbourhoods
where max_seq_before >= min_seq or min_seq_after <= max_seq
