{#-
  What the model `name` held after the last complete build, the `columns` of it; no rows where there
  is none to compare with.
-#}
{%- macro built(name, columns) -%}
{%- if state_is_current() -%}
(select {{ columns | join(', ') }} from {{ state_relation(name) }})
{%- else -%}
(select {{ columns | join(', ') }} from {{ ref(name) }} where false)
{%- endif -%}
{%- endmacro -%}
