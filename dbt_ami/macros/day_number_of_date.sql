{#- Days from 1970-01-01 to the date `day`, integer. -#}
{%- macro day_number_of_date(day) -%}
{{ return(adapter.dispatch('day_number_of_date', 'ami')(day)) }}
{%- endmacro -%}
{%- macro default__day_number_of_date(day) -%}unix_date({{ day }}){%- endmacro -%}
{%- macro duckdb__day_number_of_date(day) -%}({{ day }} - date '1970-01-01'){%- endmacro -%}
