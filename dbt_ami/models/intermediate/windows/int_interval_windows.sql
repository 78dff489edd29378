{{ config(post_hook="{{ note_unfinished() }}") }}
with changed as (
    {{ changed_rows(
        ref('int_meter_intervals'),
        built('int_meter_intervals', ['meter_id', 'sample_interval_ms']),
        ['meter_id', 'sample_interval_ms']
    ) }}
)

select window_ts from {{ ref('int_landed_windows') }}
union distinct
select {{ window_of('edges.hour_ts') }} as window_ts
from {{ ref('int_meter_hour_edges') }} as edges
inner join changed on edges.meter_id = changed.meter_id
