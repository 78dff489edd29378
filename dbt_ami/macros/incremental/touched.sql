{#-
  Whether `timestamp` lies in a window that this run restates (or at most `margin_s` beside one, see
  in_windows): one that the model `windows` lists, any window where the model is built whole.
-#}
{%- macro touched(timestamp, windows, margin_s=0) -%}
{#- A unit test restates everything, and names only what it reads. -#}
{%- if model.resource_type == 'unit_test' -%}{{ any_time(timestamp) }}
{%- else -%}
    {%- set relation = ref(windows) -%}
    {%- if is_incremental() -%}{{ in_windows(timestamp, relation, margin_s=margin_s) }}
    {%- else -%}{{ any_time(timestamp) }}{%- endif -%}
{%- endif -%}
{%- endmacro -%}
