{#- Microseconds of `timestamp` since 1970-01-01 UTC, integer. -#}
{%- macro epoch_us(timestamp) -%}
{{ return(adapter.dispatch('epoch_us', 'ami')(timestamp)) }}
{%- endmacro -%}
{%- macro default__epoch_us(timestamp) -%}unix_micros({{ timestamp }}){%- endmacro -%}
{%- macro duckdb__epoch_us(timestamp) -%}epoch_us({{ timestamp }}){%- endmacro -%}
