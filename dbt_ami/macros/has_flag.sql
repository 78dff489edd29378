{#- Whether the list of quality flags `flags` (NULL: none) holds `flag`. -#}
{%- macro has_flag(flags, flag) -%}
{{ return(adapter.dispatch('has_flag', 'ami')(flags, flag)) }}
{%- endmacro -%}
{%- macro default__has_flag(flags, flag) -%}('{{ flag }}' in unnest({{ flags }})){%- endmacro -%}
{%- macro duckdb__has_flag(flags, flag) -%}
coalesce(list_contains({{ flags }}, '{{ flag }}'), false)
{%- endmacro -%}
