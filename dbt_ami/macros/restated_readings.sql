{#-
  Configures the model of the deduplicated readings. On DuckDB it is a view of the compacted hours.
  On BigQuery it is a table, restated by the days in which readings arrived: deduplication reads
  nearly all columns, and what follows should read only those it needs.
-#}
{%- macro restated_readings() -%}
{{ return(adapter.dispatch('restated_readings', 'ami')()) }}
{%- endmacro -%}
{%- macro default__restated_readings() -%}
{{ restated_by_window('int_landed_windows', 'event_ts', ['pole_id', 'meter_id'], true) }}
{%- endmacro -%}
{%- macro duckdb__restated_readings() -%}{{ config(materialized='view') }}{%- endmacro -%}
