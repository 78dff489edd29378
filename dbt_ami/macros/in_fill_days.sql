{#-
  Whether `slot_ts` lies in a day that fills gaps of the days that this run estimates anew, or beside
  one; written out like the windows, so that no other days are read.
-#}
{%- macro in_fill_days(slot_ts) -%}
{%- if model.resource_type == 'unit_test' -%}true
{%- else -%}
    {%- set fills -%}
(
    select {{ timestamp_of_us('like_day_number * 86400000000') }} as window_ts
    from {{ ref('int_meter_fill_days') }}
    where {{ touched(
        timestamp_of_us('day_number * 86400000000'), 'int_estimated_windows', margin_s=86400
    ) }}
) as fills
    {%- endset -%}
    {%- if is_incremental() -%}{{ in_windows(slot_ts, fills, margin_s=86400) }}
    {%- else -%}true
    {%- endif -%}
{%- endif -%}
{%- endmacro -%}
