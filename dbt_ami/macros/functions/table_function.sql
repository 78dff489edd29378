{#-
  A model that takes arguments, on BigQuery; DuckDB's adapter has the same materialization.
  `parameters` in its config is what function_parameters gives.
-#}
{%- materialization table_function, adapter='bigquery' -%}
    {%- set relation = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks) }}
    {%- call statement('main') -%}
create or replace table function {{ relation.render() }}({{ config.require('parameters') | join(', ') }})
as (
{{ sql }}
)
    {%- endcall -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [relation]}) }}
{%- endmaterialization -%}
