{#- Monday of the ISO week that holds `date`. -#}
{%- macro iso_week_start(date) -%}
{{ return(adapter.dispatch('iso_week_start', 'ami')(date)) }}
{%- endmacro -%}
{%- macro default__iso_week_start(date) -%}date_trunc({{ date }}, isoweek){%- endmacro -%}
{%- macro duckdb__iso_week_start(date) -%}
cast(date_trunc('week', {{ date }}) as date)
{%- endmacro -%}
