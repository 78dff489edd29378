{#-
  After a run: for each part of the project (state_parts) of which it built every model that is
  restated by windows, keeps what the next run compares with. Of any other part the windows it
  restated are restated again, which changes nothing.
-#}
{%- macro end_build(results) -%}
{%- if is_building() -%}
    {%- set built = results
        | selectattr('status', 'in', ['success']) | map(attribute='node.unique_id') | list -%}
    {%- set digests = state_relation('digests') -%}
    {%- for part, kept in state_parts().items() -%}
        {%- set missing = [] -%}
        {%- for node in graph.nodes.values() -%}
            {%- if
                node.resource_type == 'model'
                and state_part(node) == part
                and (
                    node.config.materialized == 'incremental'
                    or node.name in kept.compared or node.name in kept.lists
                )
                and node.unique_id not in built
            -%}
                {%- do missing.append(node.name) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if not missing -%}
            {%- for name in kept.compared -%}
                {%- do run_query(
                    'create or replace table ' ~ state_relation(name, part) ~ ' as select * from '
                    ~ api.Relation.create(
                        database=target.database, schema=target.schema, identifier=name
                    )
                ) -%}
            {%- endfor -%}
            {%- if part == 'readings' -%}{%- do keep_landed_windows() -%}{%- endif -%}
            {%- do run_query(
                'delete from ' ~ state_relation('unfinished_windows') ~ " where list_name in ('"
                ~ kept.lists | join("', '") ~ "')"
            ) -%}
            {%- do run_query('delete from ' ~ digests ~ " where part = '" ~ part ~ "'") -%}
            {%- do run_query(
                'insert into ' ~ digests ~ " values ('" ~ part ~ "', '" ~ build_digest() ~ "')"
            ) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endif -%}
{%- endmacro -%}
