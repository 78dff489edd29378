{#- Date on the wall in the IANA time zone `zone` at `timestamp`. -#}
{%- macro local_date(timestamp, zone) -%}
{{ return(adapter.dispatch('local_date', 'ami')(timestamp, zone)) }}
{%- endmacro -%}
{%- macro default__local_date(timestamp, zone) -%}date({{ timestamp }}, {{ zone }}){%- endmacro -%}
{%- macro duckdb__local_date(timestamp, zone) -%}
cast(timezone({{ zone }}, {{ timestamp }}) as date)
{%- endmacro -%}
