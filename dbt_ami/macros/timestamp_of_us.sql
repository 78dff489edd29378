{#- UTC timestamp of `us` microseconds since 1970-01-01 UTC. -#}
{%- macro timestamp_of_us(us) -%}
{{ return(adapter.dispatch('timestamp_of_us', 'ami')(us)) }}
{%- endmacro -%}
{%- macro default__timestamp_of_us(us) -%}timestamp_micros({{ us }}){%- endmacro -%}
{%- macro duckdb__timestamp_of_us(us) -%}make_timestamptz({{ us }}){%- endmacro -%}
