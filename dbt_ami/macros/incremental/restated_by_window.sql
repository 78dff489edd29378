{#-
  Configures a model that is restated by windows: in a run, all its rows whose `time_column` lies in
  a window of the model `windows` are deleted and inserted anew, in one transaction. A window that
  has no rows any more leaves none behind. The model's SQL limits itself with `touched`.
-#}
{%- macro restated_by_window(windows, time_column) -%}
{{ return(adapter.dispatch('restated_by_window', 'ami')(windows, time_column)) }}
{%- endmacro -%}

{%- macro default__restated_by_window(windows, time_column) -%}
{%- set partitions = [] -%}
{%- if model.resource_type != 'unit_test' and is_incremental() -%}
    {%- for window_us in run_query(
        'select distinct ' ~ epoch_us('window_ts') ~ ' from ' ~ ref(windows)
    ).columns[0].values() -%}
        {%- do partitions.append(timestamp_of_us(window_us | int)) -%}
    {%- endfor -%}
    {#- Without a window to restate: one that never holds a row. -#}
    {%- do partitions.append(far_past()) if not partitions -%}
{%- endif -%}
{{ config(
    materialized='incremental',
    incremental_strategy='insert_overwrite',
    on_schema_change='fail',
    partition_by={'field': time_column, 'data_type': 'timestamp', 'granularity': 'day'},
    partitions=partitions
) }}
{%- endmacro -%}

{%- macro duckdb__restated_by_window(windows, time_column) -%}
{{ config(
    materialized='incremental',
    incremental_strategy='restate_windows',
    on_schema_change='fail',
    meta={'windows': windows, 'time_column': time_column}
) }}
{%- endmacro -%}
