{{ config(post_hook="{{ note_unfinished('int_estimated_windows') }}") }}
{%- set fill_columns = ['meter_id', 'pole_id', 'day_number', 'like_day_number'] -%}
with changed_days as (
    select distinct {{ int_div(epoch_us('window_ts'), 86400000000) }} as day_number
    from {{ ref('int_changed_day_windows') }}
),

changed_fills as (
    {{ changed_rows(
        ref('int_meter_fill_days'), built('int_meter_fill_days', fill_columns), fill_columns
    ) }}
),

filled as (
    select fills.day_number
    from {{ ref('int_meter_fill_days') }} as fills
    inner join changed_days on fills.like_day_number = changed_days.day_number
    union distinct
    select day_number from changed_fills
),

reached as (
    {{ explode_range('filled', 'filled.day_number - 1', 'filled.day_number + 1', 'reached_day') }}
),

days as (
    select distinct reached_day as day_number
    from reached
)

select window_ts from {{ ref('int_changed_day_windows') }}
union distinct
select window_ts from {{ unfinished_windows('int_estimated_windows') }} as unfinished
union distinct
{{ windows_of_days('days') }}
