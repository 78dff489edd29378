{#- The var `name` as a 64-bit floating point literal. -#}
{%- macro number_var(name) -%}cast({{ var(name) }} as {{ type_double() }}){%- endmacro -%}
