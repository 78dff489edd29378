-- A low reading asks for the samples beside it, which may lie in the hours with readings before
-- and after its own; whether it asks depends on whether those hours are calm, and on the hours
-- beside them. Where seq ranges overlap, hours further apart are beside each other.
with meters as (
    select distinct meter_id from {{ ref('int_meter_hour_edges') }}
),

-- A window that has lost all its readings had them between those beside it.
hours_with_readings as (
    select
        meter_id,
        hour_ts
    from {{ ref('int_meter_hour_edges') }}
    union distinct
    select
        meters.meter_id,
        landed.window_ts as hour_ts
    from {{ ref('int_landed_windows') }} as landed
    inner join {{ built_windows() }} as built on landed.window_ts = built.window_ts
    cross join meters
    where landed.version is null
),

neighbours as (
    select
        meter_id,
        hour_ts,
        lag(hour_ts) over in_order as hour_before_ts,
        lag(hour_ts, 2) over in_order as two_hours_before_ts,
        lead(hour_ts) over in_order as hour_after_ts,
        lead(hour_ts, 2) over in_order as two_hours_after_ts
    from hours_with_readings
    window in_order as (
        partition by meter_id
        order by hour_ts
    )
),

changed as (
    select
        neighbours.hour_ts,
        neighbours.hour_before_ts,
        neighbours.two_hours_before_ts,
        neighbours.hour_after_ts,
        neighbours.two_hours_after_ts
    from neighbours
    left join {{ ref('int_touched_windows') }} as touched
        on {{ window_of('neighbours.hour_ts') }} = touched.window_ts
    left join {{ ref('int_seq_overlaps') }} as overlapping
        on
            neighbours.meter_id = overlapping.meter_id
            and neighbours.hour_ts = overlapping.hour_ts
    where touched.window_ts is not null or overlapping.meter_id is not null
),

hours as (
    select hour_ts from changed
    union distinct
    select hour_before_ts as hour_ts from changed
    union distinct
    select two_hours_before_ts as hour_ts from changed
    union distinct
    select hour_after_ts as hour_ts from changed
    union distinct
    select two_hours_after_ts as hour_ts from changed
)

select window_ts from {{ ref('int_touched_windows') }}
union distinct
select {{ window_of('hour_ts') }} as window_ts
from hours
where hour_ts is not null
