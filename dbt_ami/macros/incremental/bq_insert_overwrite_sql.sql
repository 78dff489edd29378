{#-
  Replaces dbt-bigquery's own, which takes the partitions to overwrite from the model's config (read
  before anything is built) or else those that the new rows lie in, so that a day that lost all its
  rows would keep them. Overwritten are the windows that the model restates, written out, so that
  BigQuery reads no other partition of the target.
-#}
{%- macro bq_insert_overwrite_sql(
    tmp_relation, target_relation, sql, unique_key, partition_by, partitions, dest_columns,
    tmp_relation_exists, copy_partitions
) -%}
{%- set restated = [] -%}
{%- for window_us in run_query(
    'select distinct ' ~ epoch_us('window_ts') ~ ' as window_us from '
    ~ ref(config.get('meta')['windows']) ~ ' order by 1'
).columns[0].values() -%}
    {%- do restated.append(timestamp_of_us(window_us | int)) -%}
{%- endfor -%}
{#- Without a window to restate: one that never holds a row. -#}
{%- do restated.append(far_past()) if not restated -%}
{{ bq_static_insert_overwrite_sql(
    tmp_relation, target_relation, sql, partition_by, restated, dest_columns,
    tmp_relation_exists, copy_partitions
) }}
{%- endmacro -%}
