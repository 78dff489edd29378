{#- The var `name`, a time in seconds, as a whole number of microseconds. -#}
{%- macro us_var(name) -%}{{ (var(name) * 1000000) | round | int }}{%- endmacro -%}
