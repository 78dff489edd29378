{#-
  Before a run: makes the place of the state, and withdraws a state that was left by other models,
  macros or thresholds or is to be built anew, so that a run which is cut short is not taken for
  complete.
-#}
{%- macro begin_build() -%}
{%- if is_building() -%}
    {%- set digest = state_relation('digest') -%}
    {%- set windows = state_relation('windows') -%}
    {%- do adapter.create_schema(digest) -%}
    {%- do run_query(
        'create table if not exists ' ~ digest ~ ' (digest ' ~ dbt.type_string() ~ ')'
    ) -%}
    {%- do run_query(
        'create table if not exists ' ~ windows
        ~ ' (window_ts ' ~ type_instant() ~ ', version ' ~ dbt.type_string() ~ ')'
    ) -%}
    {%- do run_query(
        'create table if not exists ' ~ state_relation('unfinished')
        ~ ' (window_ts ' ~ type_instant() ~ ')'
    ) -%}
    {%- set digests = run_query('select digest from ' ~ digest).columns[0].values() | list -%}
    {%- if flags.FULL_REFRESH or digests != [build_digest()] -%}
        {%- do run_query('delete from ' ~ digest ~ ' where true') -%}
        {%- do run_query('delete from ' ~ windows ~ ' where true') -%}
    {%- endif -%}
{%- endif -%}
{%- endmacro -%}
