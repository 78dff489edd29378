{#- The part of the project (state_parts) that `node` belongs to. -#}
{%- macro state_part(node) -%}
{{ return('demand_response' if 'demand_response' in node.fqn else 'readings') }}
{%- endmacro -%}
