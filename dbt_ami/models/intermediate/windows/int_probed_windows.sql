{{ config(post_hook="{{ note_unfinished() }}") }}
-- A low reading asks for the samples beside it, which may lie in the hours with readings before
-- and after its own; whether it asks depends on whether those hours are calm, and on the hours
-- beside them. Where seq ranges overlap, hours further apart are beside each other.
{%- set steps = [1, 2] %}
with neighbours as (
    select
        meter_id,
        hour_ts
        {%- for step in steps %},
        lag(hour_ts, {{ step }}) over in_order as hour_{{ step }}_before,
        lead(hour_ts, {{ step }}) over in_order as hour_{{ step }}_after
        {%- endfor %}
    from {{ ref('int_meter_hour_edges') }}
    window in_order as (
        partition by meter_id
        order by hour_ts
    )
),

changed as (
    select
        neighbours.hour_ts
        {%- for step in steps %},
        neighbours.hour_{{ step }}_before,
        neighbours.hour_{{ step }}_after
        {%- endfor %}
    from neighbours
    left join {{ ref('int_touched_windows') }} as touched
        on {{ window_of('neighbours.hour_ts') }} = touched.window_ts
    left join {{ ref('int_seq_overlaps') }} as overlapping
        on
            neighbours.meter_id = overlapping.meter_id
            and neighbours.hour_ts = overlapping.hour_ts
    where touched.window_ts is not null or overlapping.meter_id is not null
)

select window_ts from {{ ref('int_touched_windows') }}
union distinct
select {{ window_of('hour_ts') }} as window_ts from changed
{%- for step in steps %}
union distinct
select {{ window_of('hour_' ~ step ~ '_before') }} as window_ts
from changed
where hour_{{ step }}_before is not null
union distinct
select {{ window_of('hour_' ~ step ~ '_after') }} as window_ts
from changed
where hour_{{ step }}_after is not null
{%- endfor %}
