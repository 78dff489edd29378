{#-
  Whether `timestamp` lies in one of the windows that `relation` lists in `column`, or at most
  `margin_s` beside one: what is to be restated may need what is beside it. With `reach_us` each
  window begins so many µs earlier. With either, more may lie in them. The windows are written out
  as ranges, so that only their files (partitions) are read. Everything lies in them when dbt only
  compiles.
-#}
{%- macro in_windows(timestamp, relation, column='window_ts', margin_s=0, reach_us=0) -%}
{%- set longest_list = 200 -%}
{%- if not is_building() -%}
{{ any_time(timestamp) }}
{%- else -%}
    {%- set listed = run_query(
        'select distinct ' ~ int_div(epoch_us(column), window_s() * 1000000)
        ~ ' as window_number from ' ~ relation ~ ' order by 1'
    ).columns[0].values() | map('int') | list -%}
    {%- set ranges = [] -%}
    {%- for number in listed -%}
        {%- if ranges and ranges[-1][1] == number -%}
            {%- do ranges[-1].append(number + 1) -%}
            {%- do ranges[-1].pop(1) -%}
        {%- else -%}
            {%- do ranges.append([number, number + 1]) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set window_us = window_s() * 1000000 -%}
    {%- set margin_us = (margin_s * 1000000) | int -%}
    {%- set before_us = margin_us + reach_us -%}
    {%- if not ranges -%}
{{ no_time(timestamp) }}
    {%- elif ranges | length > longest_list -%}
(
    {{ timestamp }} >= {{ timestamp_of_us(ranges[0][0] * window_us - before_us) }}
    and {{ timestamp }} < {{ timestamp_of_us(ranges[-1][1] * window_us + margin_us) }}
    {%- if not before_us %}
    and {{ window_of(timestamp) }} in (select {{ window_of(column) }} from {{ relation }})
    {%- endif %}
)
    {%- else -%}
(
        {%- for first, last in ranges %}
    {{ 'or ' if not loop.first }}(
        {{ timestamp }} >= {{ timestamp_of_us(first * window_us - before_us) }}
        and {{ timestamp }} < {{ timestamp_of_us(last * window_us + margin_us) }}
    )
        {%- endfor %}
)
    {%- endif -%}
{%- endif -%}
{%- endmacro -%}
