{#- Whole quotient of two non-negative integers. -#}
{%- macro int_div(dividend, divisor) -%}
{{ return(adapter.dispatch('int_div', 'ami')(dividend, divisor)) }}
{%- endmacro -%}
{%- macro default__int_div(dividend, divisor) -%}
div(({{ dividend }}), ({{ divisor }}))
{%- endmacro -%}
{%- macro duckdb__int_div(dividend, divisor) -%}
(({{ dividend }}) // ({{ divisor }}))
{%- endmacro -%}
