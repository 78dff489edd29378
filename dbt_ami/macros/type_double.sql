{#- Type of a 64-bit floating point number. -#}
{%- macro type_double() -%}{{ return(adapter.dispatch('type_double', 'ami')()) }}{%- endmacro -%}
{%- macro default__type_double() -%}float64{%- endmacro -%}
{%- macro duckdb__type_double() -%}double{%- endmacro -%}
