{#-
  Table `name` of the state that the last complete build left behind: in the schema `state` on
  DuckDB, beside the models with the prefix `state_` on BigQuery.
-#}
{%- macro state_relation(name) -%}
{{ return(adapter.dispatch('state_relation', 'ami')(name)) }}
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
