{#- Windows (`window_ts`) of the UTC days `day_number` (days since 1970-01-01) of `days`. -#}
{%- macro windows_of_days(days) -%}
{%- set per_day = 86400 // window_s() -%}
select {{ timestamp_of_us('window_number * ' ~ window_s() * 1000000) }} as window_ts
from (
    {{ explode_range(
        days,
        'day_number * ' ~ per_day,
        'day_number * ' ~ per_day ~ ' + ' ~ (per_day - 1),
        'window_number'
    ) }}
) as windows
{%- endmacro -%}
