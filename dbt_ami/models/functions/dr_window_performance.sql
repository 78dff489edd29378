{{ config(
    materialized='table_function',
    parameters=function_parameters(
        {'window_start': 'instant', 'window_end': 'instant', 'pole_ids': 'texts'}
    )
) }}
{%- set span = (instant_of('window_start'), instant_of('window_end')) -%}
with windows as (
    select
        'window' as window_id,
        pole_id,
        {{ span[0] }} as start_ts,
        {{ span[1] }} as end_ts
    from {{ ref('int_pole_time_zones') }}
    where {{ is_listed('pole_id', 'pole_ids') }}
),

{{ dr_windows('windows', span=span) }}

select
    {{ dr_slot_columns() }}
from dr_slots
