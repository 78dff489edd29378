{{ config(
    post_hook=["{{ note_unfinished() }}", "{{ note_unfinished('int_touched_slot_windows') }}"]
) }}
{%- set service_columns = [
    'meter_id', 'pole_id', 'transformer_id', 'nominal_voltage_v', 'rated_kva', 'is_registered',
    'sample_interval_ms', 'service_from', 'service_to',
] -%}
with changed_service_hours as (
    {{ hours_with_changed_spans(
        'int_meter_service', service_columns, 'service_from', 'service_to', where_silent=true
    ) }}
),

changed_windows as (
    select window_ts from {{ ref('int_touched_windows') }}
    union distinct
    select {{ window_of('hour_ts') }} as window_ts from changed_service_hours
    union distinct
    -- What is expected up to the watermark changes with it, which goes back when an hour goes.
    select {{ window_of('edges.hour_ts') }} as window_ts
    from {{ ref('int_meter_hour_edges') }} as edges
    cross join {{ ref('int_lake_range') }} as lake
    inner join {{ built('int_lake_range', ['watermark_ts']) }} as built
        on
            {{ window_of('edges.hour_ts') }}
            >= {{ window_of('least(built.watermark_ts, lake.watermark_ts)') }}
),

-- A reading covers time beyond its window for as long as a sample interval.
reached as (
    select
        {{ int_div(epoch_us('changed_windows.window_ts'), window_s() * 1000000) }} as first_number,
        {{ int_div(epoch_us('changed_windows.window_ts'), window_s() * 1000000) }}
        + {{ int_div(
            '(longest.sample_interval_ms + ' ~ (window_s() * 1000 - 1) ~ ')', window_s() * 1000
        ) }} as last_number
    from changed_windows
    cross join {{ longest_interval() }} as longest
),

reached_windows as (
    {{ explode_range('reached', 'first_number', 'last_number', 'window_number') }}
)

select distinct {{ timestamp_of_us('window_number * ' ~ window_s() * 1000000) }} as window_ts
from reached_windows
