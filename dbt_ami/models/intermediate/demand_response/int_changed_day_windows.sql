{{ config(post_hook="{{ note_unfinished('int_changed_day_windows') }}") }}
{%- set day_us = 86400000000 -%}
{%- set window_us = window_s() * 1000000 -%}
{%- set event_columns = ['event_id', 'pole_id', 'start_ts', 'end_ts', 'rebound_end_ts'] -%}
{%- set holiday_columns = ['time_zone', 'day_number'] -%}
with service as (
    {{ changed_spans(
        'int_meter_service', ['meter_id', 'pole_id'], 'expected_from', 'expected_to'
    ) }}
),

without_supply as (
    {{ changed_spans('outages', ['meter_id', 'pole_id'], 'start_ts', 'until_ts') }}
),

changed_events as (
    {{ changed_rows(
        ref('int_dr_event_poles'), built('int_dr_event_poles', event_columns), event_columns
    ) }}
),

changed_holidays as (
    {{ changed_rows(
        ref('int_zone_holidays'), built('int_zone_holidays', holiday_columns), holiday_columns
    ) }}
),

poles_of_another_zone as (
    select zones.pole_id
    from {{ ref('int_pole_time_zones') }} as zones
    inner join {{ built('int_pole_time_zones', ['pole_id', 'time_zone']) }} as built
        on zones.pole_id = built.pole_id
    where zones.time_zone != built.time_zone
),

touched_windows as (
    select window_ts from {{ ref('int_touched_slot_windows') }}
    union distinct
    select window_ts from {{ unfinished_windows('int_touched_slot_windows') }} as unfinished
),

spans as (
    select
        {{ epoch_us('window_ts') }} as from_us,
        {{ epoch_us('window_ts') }} + {{ window_us }} as to_us
    from touched_windows
    union all
    select
        from_us,
        to_us
    from service
    union all
    select
        from_us,
        to_us
    from without_supply
    union all
    select
        {{ epoch_us('start_ts') }} as from_us,
        {{ epoch_us('rebound_end_ts') }} as to_us
    from changed_events
    union all
    select
        day_number * {{ day_us }} as from_us,
        (day_number + 1) * {{ day_us }} as to_us
    from changed_holidays
    union all
    select
        {{ epoch_us('lake.oldest_event_ts') }} as from_us,
        {{ epoch_us('lake.watermark_ts') }} + 1 as to_us
    from {{ ref('int_lake_range') }} as lake
    where exists (select 1 from poles_of_another_zone)
),

-- A UTC day reaches over local days beside it, and a local day over UTC days beside it.
reached as (
    select
        {{ int_div('from_us', day_us) }} - 1 as first_day,
        {{ int_div('to_us - 1', day_us) }} + 1 as last_day
    from spans
),

every_day as (
    {{ explode_range('reached', 'first_day', 'last_day', 'day_number') }}
),

days as (
    select distinct day_number
    from every_day
)

select window_ts from {{ unfinished_windows('int_changed_day_windows') }} as unfinished
union distinct
{{ windows_of_days('days') }}
