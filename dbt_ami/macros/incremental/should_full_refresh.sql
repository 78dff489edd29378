{#-
  Replaces dbt's own: an incremental model is built whole with --full-refresh, and whenever the last
  build was made with other models or thresholds (state_is_current). `full_refresh` in the model's
  config decides alone.
-#}
{%- macro should_full_refresh() -%}
{%- set configured = config.get('full_refresh') -%}
{%- if configured is not none -%}{{ return(configured) }}{%- endif -%}
{{ return(flags.FULL_REFRESH or (is_building() and not state_is_current())) }}
{%- endmacro -%}
