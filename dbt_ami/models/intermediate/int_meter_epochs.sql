-- Within a calm hour no two readings lie far enough apart on the clock to begin an epoch, so its
-- first and last reading stand for all of it; only restless hours are read again.
with edges as (
    select
        edges.meter_id,
        edges.hour_ts,
        edges.first_event_ts,
        edges.last_event_ts,
        edges.first_seq,
        edges.last_seq,
        intervals.sample_interval_ms,
        greatest({{ us_var('epoch_min_jump_s') }}, 2000 * intervals.sample_interval_ms) as jump_us,
        edges.clock_resets > 0
        or edges.anchor_range_us
        > greatest({{ us_var('epoch_min_jump_s') }}, 2000 * intervals.sample_interval_ms)
            as is_restless
    from {{ ref('int_meter_hour_edges') }} as edges
    inner join {{ ref('int_meter_intervals') }} as intervals
        on edges.meter_id = intervals.meter_id
),

points as (
    select
        meter_id,
        first_event_ts as event_ts,
        first_seq as seq,
        false as is_clock_reset,
        sample_interval_ms,
        jump_us
    from edges
    where not is_restless
    union all
    select
        meter_id,
        last_event_ts as event_ts,
        last_seq as seq,
        false as is_clock_reset,
        sample_interval_ms,
        jump_us
    from edges
    where not is_restless
    union all
    select
        readings.meter_id,
        readings.event_ts,
        readings.seq,
        {{ has_flag('readings.quality_flags', 'clock_reset') }} as is_clock_reset,
        edges.sample_interval_ms,
        edges.jump_us
    from {{ ref('stg_readings') }} as readings
    inner join edges
        on
            readings.meter_id = edges.meter_id
            and {{ floor_time('readings.event_ts', 3600) }} = edges.hour_ts
    where edges.is_restless
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
