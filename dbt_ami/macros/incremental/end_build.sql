{#-
  After a run: when it built every model that is restated by windows, keeps what the next run
  compares with. After any other run the windows it restated are restated again, which changes
  nothing.
-#}
{%- macro end_build(results) -%}
{%- if is_building() -%}
    {%- set built = results
        | selectattr('status', 'in', ['success']) | map(attribute='node.unique_id') | list -%}
    {%- set compared = [
        'int_landed_windows', 'int_meter_intervals', 'int_meter_periods', 'int_meter_service',
        'int_seq_conflicts', 'int_lake_range', 'voltage_events',
    ] -%}
    {%- set missing = [] -%}
    {%- for node in graph.nodes.values() -%}
        {%- if
            node.resource_type == 'model'
            and (node.config.materialized == 'incremental' or node.name in compared)
            and node.unique_id not in built
        -%}
            {%- do missing.append(node.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not missing -%}
        {%- for name in compared if name != 'int_landed_windows' -%}
            {%- do run_query(
                'create or replace table ' ~ state_relation(name) ~ ' as select * from '
                ~ api.Relation.create(
                    database=target.database, schema=target.schema, identifier=name
                )
            ) -%}
        {%- endfor -%}
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
        {%- do run_query('delete from ' ~ state_relation('unfinished') ~ ' where true') -%}
        {%- do run_query('delete from ' ~ state_relation('digest') ~ ' where true') -%}
        {%- do run_query(
            'insert into ' ~ state_relation('digest') ~ " values ('" ~ build_digest() ~ "')"
        ) -%}
    {%- endif -%}
{%- endif -%}
{%- endmacro -%}
