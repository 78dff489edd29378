{#-
  Configures a model that is restated by windows: in a run, all its rows whose `time_column` lies in
  a window of the model `windows` are deleted and inserted anew, in one transaction. A window that
  has no rows any more leaves none behind. The model's SQL limits itself with `touched`. BigQuery
  keeps the rows of each partition together by the columns of `cluster_by`, and refuses queries
  without a condition on the partition with `require_partition_filter`.
-#}
{%- macro restated_by_window(
    windows, time_column, cluster_by=none, require_partition_filter=false
) -%}
{{ return(adapter.dispatch('restated_by_window', 'ami')(
    windows, time_column, cluster_by, require_partition_filter
)) }}
{%- endmacro -%}

{%- macro default__restated_by_window(
    windows, time_column, cluster_by, require_partition_filter
) -%}
{{ config(
    materialized='incremental',
    incremental_strategy='insert_overwrite',
    on_schema_change='fail',
    partition_by=by_day(time_column),
    cluster_by=cluster_by,
    require_partition_filter=require_partition_filter,
    meta={'windows': windows, 'time_column': time_column}
) }}
{%- endmacro -%}

{%- macro duckdb__restated_by_window(
    windows, time_column, cluster_by, require_partition_filter
) -%}
{{ config(
    materialized='incremental',
    incremental_strategy='restate_windows',
    on_schema_change='fail',
    meta={'windows': windows, 'time_column': time_column}
) }}
{%- endmacro -%}
