{#-
  `partition_by` of a BigQuery table with one partition per UTC day of the timestamp `column`;
  nothing on DuckDB, whose tables have no partitions.
-#}
{%- macro by_day(column) -%}
{{ return(adapter.dispatch('by_day', 'ami')(column)) }}
{%- endmacro -%}
{%- macro default__by_day(column) -%}
{{ return({'field': column, 'data_type': 'timestamp', 'granularity': 'day'}) }}
{%- endmacro -%}
{%- macro duckdb__by_day(column) -%}{{ return(none) }}{%- endmacro -%}
