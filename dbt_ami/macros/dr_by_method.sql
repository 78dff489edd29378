{#-
  The column `prefix`_<method> of the row's `method`: turns one column per DR method into one row
  per method.
-#}
{%- macro dr_by_method(prefix) -%}
case method
    {%- for method in var('dr_methods') %}
    when '{{ method }}' then {{ prefix }}_{{ method }}
    {%- endfor %}
end
{%- endmacro -%}
