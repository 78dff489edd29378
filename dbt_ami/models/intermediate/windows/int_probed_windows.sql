{{ config(post_hook="{{ note_unfinished() }}") }}
-- A low reading asks for the samples beside it, which may lie in the hours with readings before
-- and after its own.
with neighbours as (
    select
        hour_ts,
        lag(hour_ts) over in_order as previous_hour_ts,
        lead(hour_ts) over in_order as next_hour_ts
    from {{ ref('int_meter_hour_edges') }}
    window in_order as (
        partition by meter_id
        order by hour_ts
    )
)

select window_ts from {{ ref('int_touched_windows') }}
union distinct
select {{ window_of('neighbours.previous_hour_ts') }} as window_ts
from neighbours
inner join {{ ref('int_touched_windows') }} as touched
    on {{ window_of('neighbours.hour_ts') }} = touched.window_ts
where neighbours.previous_hour_ts is not null
union distinct
select {{ window_of('neighbours.next_hour_ts') }} as window_ts
from neighbours
inner join {{ ref('int_touched_windows') }} as touched
    on {{ window_of('neighbours.hour_ts') }} = touched.window_ts
where neighbours.next_hour_ts is not null
union distinct
-- Where seq ranges overlap, samples that follow each other may lie further apart.
select {{ window_of('hour_ts') }} as window_ts from {{ ref('int_seq_overlaps') }}
