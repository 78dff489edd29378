{#- UTC timestamp at which `date` begins in the IANA time zone `zone`. -#}
{%- macro local_midnight(date, zone) -%}
{{ return(adapter.dispatch('local_midnight', 'ami')(date, zone)) }}
{%- endmacro -%}
{%- macro default__local_midnight(date, zone) -%}timestamp({{ date }}, {{ zone }}){%- endmacro -%}
{%- macro duckdb__local_midnight(date, zone) -%}
timezone({{ zone }}, cast({{ date }} as timestamp))
{%- endmacro -%}
