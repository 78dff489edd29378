{{ config(post_hook="{{ note_unfinished() }}") }}
{%- set columns = ['meter_id', 'minute_ts', 'silent_from_ts'] -%}
with changed as (
    {{ changed_rows(ref('int_return_minutes'), built('int_return_minutes', columns), columns) }}
)

select window_ts from {{ ref('int_touched_windows') }}
union distinct
select {{ window_of('minute_ts') }} as window_ts from changed
