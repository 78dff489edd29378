{#-
  Whether a row of int_meter_minutes lies in a window that this run restates. Its partitions on
  BigQuery go by the hour of the reading, which begins up to a sample interval and an hour before
  the minute: so this says as well in which of them to look.
-#}
{%- macro touched_minutes(windows) -%}
{{ touched('minute_ts', windows) }}
{{- adapter.dispatch('and_in_partitions_of_minutes', 'ami')(windows) }}
{%- endmacro -%}

{%- macro default__and_in_partitions_of_minutes(windows) -%}
{%- if model.resource_type != 'unit_test' -%}
    {%- set relation = ref(windows) -%}
    {%- set intervals = ref('int_meter_intervals') -%}
    {%- if is_incremental() and is_building() %}
    {%- set longest_ms = run_query(
        'select coalesce(max(sample_interval_ms), 0) as longest_ms from ' ~ intervals
    ).columns[0].values()[0] | int %}
        and {{ in_windows('reading_hour_ts', relation, reach_us=(longest_ms + 3600000) * 1000) }}
    {%- endif -%}
{%- endif -%}
{%- endmacro -%}

{%- macro duckdb__and_in_partitions_of_minutes(windows) -%}{%- endmacro -%}
