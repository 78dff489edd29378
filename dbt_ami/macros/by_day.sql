{#-
  `partition_by` of a BigQuery table with one partition per UTC day of the timestamp `column`, or
  per day of a `date` column; nothing on DuckDB, whose tables have no partitions.
-#}
{%- macro by_day(column, data_type='timestamp') -%}
{{ return(adapter.dispatch('by_day', 'ami')(column, data_type)) }}
{%- endmacro -%}
{%- macro default__by_day(column, data_type) -%}
{{ return({'field': column, 'data_type': data_type, 'granularity': 'day'}) }}
{%- endmacro -%}
{%- macro duckdb__by_day(column, data_type) -%}{{ return(none) }}{%- endmacro -%}
