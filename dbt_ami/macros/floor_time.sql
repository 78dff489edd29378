{#- Start of the UTC-aligned slot of `seconds` that holds `timestamp`. -#}
{%- macro floor_time(timestamp, seconds) -%}
{{ timestamp_of_us(int_div(epoch_us(timestamp), seconds * 1000000) ~ ' * ' ~ seconds * 1000000) }}
{%- endmacro -%}
