{#-
  Table `name` of the state that complete builds left behind: in the schema `state` on DuckDB,
  beside the models with the prefix `state_` on BigQuery. What a part of the project (state_parts)
  other than the readings keeps of a model has the name of the part before it.
-#}
{%- macro state_relation(name, part='readings') -%}
{%- set kept = name if part == 'readings' else part ~ '_' ~ name -%}
{{ return(adapter.dispatch('state_relation', 'ami')(kept)) }}
{%- endmacro -%}
{%- macro default__state_relation(name) -%}
{{ return(api.Relation.create(
    database=target.database, schema=target.schema, identifier='state_' ~ name, type='table'
)) }}
{%- endmacro -%}
{%- macro duckdb__state_relation(name) -%}
{{ return(api.Relation.create(
    database=target.database, schema='state', identifier=name, type='table'
)) }}
{%- endmacro -%}
