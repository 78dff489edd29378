{#-
  Whether what stands in the warehouse was built whole with the models and thresholds of this run.
  If not, incremental models are built anew and nothing is compared with the last build.
-#}
{%- macro state_is_current() -%}
{%- if not is_building() or flags.FULL_REFRESH -%}{{ return(false) }}{%- endif -%}
{%- set digests = run_query('select digest from ' ~ state_relation('digest')) -%}
{{ return(digests.columns[0].values() | list == [build_digest()]) }}
{%- endmacro -%}
