{#-
  The text (NULL allowed, never empty) of the row with the least `order_by`: the warehouses do not
  agree whether min_by passes over NULLs, so it is given none.
-#}
{%- macro first_text(text, order_by) -%}
nullif(min_by(coalesce({{ text }}, ''), {{ order_by }}), '')
{%- endmacro -%}
