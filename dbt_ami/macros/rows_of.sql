{#- One row per whole number of the list `values`, in the column `name`. -#}
{%- macro rows_of(values, name) -%}
{%- for value in values -%}
select cast({{ value }} as {{ dbt.type_bigint() }}) as {{ name }}
{%- if not loop.last %}
union all
{% endif -%}
{%- endfor -%}
{%- endmacro -%}
