{#-
  Whether `part` of the project (state_parts; the model's own if not given), as it stands in the
  warehouse, was built whole with the models, macros and thresholds of this run; begin_build has
  withdrawn its digest otherwise. If not, its incremental models are built anew and nothing is
  compared with the last build.
-#}
{%- macro state_is_current(part=none) -%}
{%- if not is_building() -%}{{ return(false) }}{%- endif -%}
{%- set digests = run_query(
    'select digest from ' ~ state_relation('digests')
    ~ " where part = '" ~ (part or state_part(model)) ~ "'"
) -%}
{{ return(digests.rows | length > 0) }}
{%- endmacro -%}
