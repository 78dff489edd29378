-- In a calm hour, event_ts order is seq order and every reading counts, so the reading beside
-- another in the one is beside it in the other. An hour next to one that is not is not calm.
with conflicted as (
    select distinct
        meter_id,
        {{ floor_time('event_ts', 3600) }} as hour_ts
    from {{ ref('int_seq_conflicts') }}
),

hours as (
    select
        edges.meter_id,
        edges.hour_ts,
        edges.first_seq,
        edges.first_event_ts,
        edges.last_seq,
        edges.last_event_ts,
        epochs.epoch,
        anchors.anchor_range_us >= 500 * anchors.sample_interval_ms
        or edges.clock_resets > 0
        or edges.unreceived_readings > 0
        or conflicted.meter_id is not null
        or overlapping.meter_id is not null
            as is_irregular
    from {{ ref('int_meter_hour_edges') }} as edges
    inner join {{ ref('int_meter_hour_anchors') }} as anchors
        on edges.meter_id = anchors.meter_id and edges.hour_ts = anchors.hour_ts
    inner join {{ ref('int_meter_epochs') }} as epochs
        on
            edges.meter_id = epochs.meter_id
            and edges.first_event_ts >= epochs.valid_from
            and edges.first_event_ts < epochs.valid_to
    left join conflicted
        on edges.meter_id = conflicted.meter_id and edges.hour_ts = conflicted.hour_ts
    left join {{ ref('int_seq_overlaps') }} as overlapping
        on edges.meter_id = overlapping.meter_id and edges.hour_ts = overlapping.hour_ts
)

select
    meter_id,
    hour_ts,
    epoch,
    lag(last_seq) over in_order as previous_seq,
    lag(last_event_ts) over in_order as previous_event_ts,
    lead(first_seq) over in_order as next_seq,
    lead(first_event_ts) over in_order as next_event_ts,
    not is_irregular
    and not coalesce(lag(is_irregular) over of_meter, false)
    and not coalesce(lead(is_irregular) over of_meter, false)
        as is_calm
from hours
window
    in_order as (
        partition by meter_id, epoch
        order by hour_ts
    ),
    of_meter as (
        partition by meter_id
        order by hour_ts
    )
