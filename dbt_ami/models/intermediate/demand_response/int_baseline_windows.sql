{{ config(post_hook="{{ note_unfinished('int_baseline_windows') }}") }}
{%- set placebo_columns = ['window_id', 'pole_id', 'start_ts'] -%}
with placebos as (
    select distinct {{ placebo_columns | join(', ') }}
    from {{ ref('int_dr_placebo_windows') }}
),

placebos_before as (
    select distinct {{ placebo_columns | join(', ') }}
    from {{ built('int_dr_placebo_windows', placebo_columns) }} as built
),

changed_placebos as (
    {{ changed_rows('placebos', 'placebos_before', placebo_columns) }}
),

-- A day that has changed is a candidate of the days within the look-back after it. A window reaches
-- a day beyond both ends: one over midnight, its adjustment before it, its rebound after it.
reached as (
    select distinct
        {{ int_div(epoch_us('window_ts'), 86400000000) }} - 1 as first_day,
        {{ int_div(epoch_us('window_ts'), 86400000000) }}
        + {{ var('dr_lookback_days') + 3 }} as last_day
    from {{ ref('int_estimated_windows') }}
),

every_day as (
    {{ explode_range('reached', 'first_day', 'last_day', 'day_number') }}
),

days as (
    select day_number from every_day
    union distinct
    select {{ int_div(epoch_us('start_ts'), 86400000000) }} as day_number from changed_placebos
)

select window_ts from {{ unfinished_windows('int_baseline_windows') }} as unfinished
union distinct
{{ windows_of_days('days') }}
