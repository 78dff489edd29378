{#- Keeps the version of every window that the build has read, for int_landed_windows. -#}
{%- macro keep_landed_windows() -%}
{%- set landed = api.Relation.create(
    database=target.database, schema=target.schema, identifier='int_landed_windows'
) -%}
{%- set windows = state_relation('windows') -%}
{%- do run_query(
    'delete from ' ~ windows ~ ' where window_ts in (select window_ts from ' ~ landed ~ ')'
) -%}
{%- do run_query(
    'insert into ' ~ windows ~ ' select window_ts, version from ' ~ landed
    ~ ' where version is not null'
) -%}
{%- endmacro -%}
