{#-
  True for every `timestamp`; on BigQuery a condition all the same, because large tables refuse
  queries without one on their partitions.
-#}
{%- macro any_time(timestamp) -%}
{{ return(adapter.dispatch('any_time', 'ami')(timestamp)) }}
{%- endmacro -%}
{%- macro default__any_time(timestamp) -%}{{ timestamp }} >= {{ far_past() }}{%- endmacro -%}
{%- macro duckdb__any_time(timestamp) -%}true{%- endmacro -%}
