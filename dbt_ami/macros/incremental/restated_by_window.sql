{#-
  Configures a model that is restated by windows: in a run, all its rows whose `time_column` lies in
  a window of the model `windows` are deleted and inserted anew, in one transaction. A window that
  has no rows any more leaves none behind. The model's SQL limits itself with `touched`. BigQuery
  keeps the rows of each partition together by the columns of `cluster_by`.
-#}
{%- macro restated_by_window(windows, time_column, cluster_by=none) -%}
{{ return(adapter.dispatch('restated_by_window', 'ami')(
    windows, time_column, cluster_by
)) }}
{%- endmacro -%}

{%- macro default__restated_by_window(windows, time_column, cluster_by) -%}
{{ config(
    materialized='incremental',
    incremental_strategy='insert_overwrite',
    on_schema_change='fail',
    partition_by=by_day(time_column),
    cluster_by=cluster_by,
    meta={'windows': windows, 'time_column': time_column}
) }}
{%- endmacro -%}

{%- macro duckdb__restated_by_window(windows, time_column, cluster_by) -%}
{{ config(
    materialized='incremental',
    incremental_strategy='restate_windows',
    on_schema_change='fail',
    meta={'windows': windows, 'time_column': time_column}
) }}
{%- endmacro -%}
