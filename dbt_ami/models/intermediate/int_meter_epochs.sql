-- Within a calm hour no two readings lie far enough apart on the clock to begin an epoch, so its
-- first and last reading stand for all of it; only restless hours are read again.
with anchors as (
    select
        meter_id,
        hour_ts,
        sample_interval_ms,
        is_restless,
        greatest({{ us_var('epoch_min_jump_s') }}, 2000 * sample_interval_ms) as jump_us
    from {{ ref('int_meter_hour_anchors') }}
),

calm_hours as (
    select
        edges.meter_id,
        edges.first_event_ts,
        edges.last_event_ts,
        edges.first_seq,
        edges.last_seq,
        anchors.sample_interval_ms,
        anchors.jump_us
    from {{ ref('int_meter_hour_edges') }} as edges
    inner join anchors
        on edges.meter_id = anchors.meter_id and edges.hour_ts = anchors.hour_ts
    where not anchors.is_restless
),

points as (
    select
        meter_id,
        first_event_ts as event_ts,
        first_seq as seq,
        false as is_clock_reset,
        sample_interval_ms,
        jump_us
    from calm_hours
    union all
    select
        meter_id,
        last_event_ts as event_ts,
        last_seq as seq,
        false as is_clock_reset,
        sample_interval_ms,
        jump_us
    from calm_hours
    union all
    select
        readings.meter_id,
        readings.event_ts,
        readings.seq,
        readings.is_clock_reset,
        anchors.sample_interval_ms,
        anchors.jump_us
    from {{ ref('int_restless_readings') }} as readings
    inner join anchors
        on
            readings.meter_id = anchors.meter_id
            and {{ floor_time('readings.event_ts', 3600) }} = anchors.hour_ts
),

steps as (
    select
        meter_id,
        event_ts,
        is_clock_reset,
        jump_us,
        seq - lag(seq) over in_order as seq_step,
        {{ epoch_us('event_ts') }} - {{ samples_us('seq', 'sample_interval_ms') }}
        - lag(
            {{ epoch_us('event_ts') }} - {{ samples_us('seq', 'sample_interval_ms') }}
        ) over in_order
            as anchor_step_us
    from points
    window in_order as (
        partition by meter_id
        order by event_ts, seq
    )
),

starts as (
    select distinct
        meter_id,
        event_ts as first_event_ts
    from steps
    where
        seq_step is null
        or is_clock_reset
        or (seq_step < 0 and anchor_step_us > jump_us)
),

numbered as (
    select
        meter_id,
        first_event_ts,
        row_number() over in_order - 1 as epoch,
        lead(first_event_ts) over in_order as next_event_ts
    from starts
    window in_order as (
        partition by meter_id
        order by first_event_ts
    )
)

select
    meter_id,
    epoch,
    first_event_ts,
    case when epoch = 0 then {{ far_past() }} else first_event_ts end as valid_from,
    coalesce(next_event_ts, {{ far_future() }}) as valid_to
from numbered
