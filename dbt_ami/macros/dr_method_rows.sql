{#- One row per DR method of the var dr_methods, in the column `method`. -#}
{%- macro dr_method_rows() -%}
{%- for method in var('dr_methods') %}
select '{{ method }}' as method
{{ 'union all' if not loop.last }}
{%- endfor -%}
{%- endmacro -%}
