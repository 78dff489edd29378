{{ config(post_hook="{{ note_unfinished() }}") }}
-- depends_on: {{ ref('int_meter_hour_edges') }}, {{ ref('stg_meters') }}
select window_ts from {{ ref('int_landed_windows') }}
{%- if state_is_current() %}
union distinct
-- Meters whose interval the registry does not say any more, or says now.
select {{ window_of('edges.hour_ts') }} as window_ts
from {{ ref('int_meter_hour_edges') }} as edges
inner join {{ state_relation('int_meter_intervals') }} as built
    on edges.meter_id = built.meter_id
left join {{ ref('stg_meters') }} as declared
    on edges.meter_id = declared.meter_id and declared.sample_interval_ms is not null
where (built.interval_source = 'registry') != (declared.meter_id is not null)
{%- endif %}
