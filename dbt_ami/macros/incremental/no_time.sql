{#- False for every `timestamp`; on BigQuery a condition on it, as in any_time. -#}
{%- macro no_time(timestamp) -%}
{{ return(adapter.dispatch('no_time', 'ami')(timestamp)) }}
{%- endmacro -%}
{%- macro default__no_time(timestamp) -%}{{ timestamp }} < {{ far_past() }}{%- endmacro -%}
{%- macro duckdb__no_time(timestamp) -%}false{%- endmacro -%}
