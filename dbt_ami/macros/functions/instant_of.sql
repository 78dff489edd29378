{#- The parameter `name` of a table function as an instant of time. -#}
{%- macro instant_of(name) -%}cast({{ name }} as {{ type_instant() }}){%- endmacro -%}
