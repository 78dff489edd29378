{#- Type of an instant of time. -#}
{%- macro type_instant() -%}{{ return(adapter.dispatch('type_instant', 'ami')()) }}{%- endmacro -%}
{%- macro default__type_instant() -%}timestamp{%- endmacro -%}
{%- macro duckdb__type_instant() -%}timestamptz{%- endmacro -%}
