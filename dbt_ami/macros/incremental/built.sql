{#-
  What the model `name` held after the last complete build of the part of the project (state_parts)
  that asks, the `columns` of it; no rows where there is none to compare with.
-#}
{%- macro built(name, columns) -%}
{%- if state_is_current() -%}
(select {{ columns | join(', ') }} from {{ state_relation(name, state_part(model)) }})
{%- else -%}
(select {{ columns | join(', ') }} from {{ ref(name) }} where false)
{%- endif -%}
{%- endmacro -%}
