{#-
  Tables of DuckDB, replaced inside one transaction. The adapter makes each under another name,
  renames both and drops the old one, three calls that take longer than most of these tables.
  A model that fails leaves its table, or the view it was before, as it was, here as there.
-#}
{% materialization table, adapter='duckdb' %}

{%- set existing_relation = load_cached_relation(this) -%}
{%- set target_relation = this.incorporate(type='table') -%}

{{ run_hooks(pre_hooks, inside_transaction=False) }}
{{ run_hooks(pre_hooks, inside_transaction=True) }}

{%- call statement('main') -%}
    {% if existing_relation is not none and not existing_relation.is_table -%}
    drop {{ existing_relation.type }} if exists {{ existing_relation }};
    {% endif -%}
    drop table if exists {{ target_relation }};
    {{ create_table_as(False, target_relation, compiled_code) }}
{%- endcall -%}

{%- do create_indexes(target_relation) -%}
{%- do persist_docs(target_relation, model) -%}

{{ run_hooks(post_hooks, inside_transaction=True) }}
{{ adapter.commit() }}
{{ run_hooks(post_hooks, inside_transaction=False) }}

{{ return({'relations': [target_relation]}) }}

{% endmaterialization %}
