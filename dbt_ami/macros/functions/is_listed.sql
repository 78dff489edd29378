{#- Whether `value` is in the list of texts `listed`, or that list is empty and stands for all. -#}
{%- macro is_listed(value, listed) -%}
{{ return(adapter.dispatch('is_listed', 'ami')(value, listed)) }}
{%- endmacro -%}
{%- macro default__is_listed(value, listed) -%}
(array_length({{ listed }}) = 0 or {{ value }} in unnest({{ listed }}))
{%- endmacro -%}
{%- macro duckdb__is_listed(value, listed) -%}
(len({{ listed }}) = 0 or list_contains(cast({{ listed }} as varchar[]), {{ value }}))
{%- endmacro -%}
