{#-
  True for every `timestamp`; on BigQuery a condition all the same, because large tables refuse
  queries without one on their partitions. The rows of a unit test may leave it out.
-#}
{%- macro any_time(timestamp) -%}
{{ return(adapter.dispatch('any_time', 'ami')(timestamp)) }}
{%- endmacro -%}
{%- macro default__any_time(timestamp) -%}
{%- if model.resource_type == 'unit_test' -%}true
{%- else -%}{{ timestamp }} >= {{ far_past() }}
{%- endif -%}
{%- endmacro -%}
{%- macro duckdb__any_time(timestamp) -%}true{%- endmacro -%}
