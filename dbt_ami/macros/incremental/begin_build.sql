{#-
  Before a run: makes the place of the state, and withdraws a state that was left by other models,
  macros or thresholds or is to be built anew, so that a run which is cut short is not taken for
  complete. Notes the windows that the command line asks for.
-#}
{%- macro begin_build() -%}
{%- if is_building() -%}
    {%- set digests = state_relation('digests') -%}
    {%- set windows = state_relation('windows') -%}
    {#- Who may write a dataset of BigQuery may not make one, not even one that is there. -#}
    {%- if not adapter.check_schema_exists(digests.database, digests.schema) -%}
        {%- do adapter.create_schema(digests) -%}
    {%- endif -%}
    {%- do run_query(
        'create table if not exists ' ~ digests ~ ' (part ' ~ dbt.type_string()
        ~ ', digest ' ~ dbt.type_string() ~ ')'
    ) -%}
    {%- do run_query(
        'create table if not exists ' ~ windows
        ~ ' (window_ts ' ~ type_instant() ~ ', version ' ~ dbt.type_string() ~ ')'
    ) -%}
    {%- do run_query(
        'create table if not exists ' ~ state_relation('unfinished_windows')
        ~ ' (list_name ' ~ dbt.type_string() ~ ', window_ts ' ~ type_instant() ~ ')'
    ) -%}
    {%- for part in state_parts() -%}
        {%- set of_part = " where part = '" ~ part ~ "'" -%}
        {%- set found = run_query('select digest from ' ~ digests ~ of_part) -%}
        {%- if flags.FULL_REFRESH or found.columns[0].values() | list != [build_digest()] -%}
            {%- do run_query('delete from ' ~ digests ~ of_part) -%}
            {%- if part == 'readings' -%}
                {%- do run_query('delete from ' ~ windows ~ ' where true') -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set requested = requested_windows() -%}
    {%- if requested -%}
        {%- do run_query(
            'insert into ' ~ state_relation('unfinished_windows')
            ~ " select 'int_landed_windows' as list_name, window_ts from (" ~ requested
            ~ ') as requested'
        ) -%}
    {%- endif -%}
{%- endif -%}
{%- endmacro -%}
