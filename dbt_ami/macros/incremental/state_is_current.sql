{#-
  Whether what stands in the warehouse was built whole with the models, macros and thresholds of
  this run; begin_build has withdrawn the digest otherwise. If not, incremental models are built
  anew and nothing is compared with the last build.
-#}
{%- macro state_is_current() -%}
{%- if not is_building() -%}{{ return(false) }}{%- endif -%}
{%- set digests = run_query('select digest from ' ~ state_relation('digest')) -%}
{{ return(digests.rows | length > 0) }}
{%- endmacro -%}
