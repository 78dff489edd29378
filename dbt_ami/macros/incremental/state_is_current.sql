{#-
  Whether `part` of the project (state_parts; the model's own if not given), as it stands in the
  warehouse, was built whole with the models and thresholds of this run. If not, its incremental
  models are built anew and nothing is compared with the last build.
-#}
{%- macro state_is_current(part=none) -%}
{%- if not is_building() or flags.FULL_REFRESH -%}{{ return(false) }}{%- endif -%}
{%- set digests = run_query(
    'select digest from ' ~ state_relation('digests')
    ~ " where part = '" ~ (part or state_part(model)) ~ "'"
) -%}
{{ return(digests.columns[0].values() | list == [build_digest()]) }}
{%- endmacro -%}
