{#-
  Replaces dbt-bigquery's own: a data test of a model that refuses queries without a condition on
  its partitions gets one that holds for every row.
-#}
{%- macro bigquery__get_where_subquery(relation) -%}
{%- set conditions = [config.get('where')] | select | list -%}
{%- for node in (graph.nodes.values() if execute else []) if node.resource_type == 'model' -%}
    {%- if node.alias == relation.identifier and node.config.get('require_partition_filter') -%}
        {%- do conditions.append(any_time(node.config.partition_by.field)) -%}
    {%- endif -%}
{%- endfor -%}
{%- if not conditions -%}{{ return(relation) }}{%- endif -%}
{{ return('(select * from ' ~ relation ~ ' where ' ~ conditions | join(' and ') ~ ') as tested') }}
{%- endmacro -%}
