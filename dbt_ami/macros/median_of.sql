{#- Median of the non-NULL ones among the expressions `values`; NULL when all are. -#}
{%- macro median_of(values) -%}
{{ return(adapter.dispatch('median_of', 'ami')(values)) }}
{%- endmacro -%}
{%- macro default__median_of(values) -%}
(
    select percentile_cont(item, 0.5) over ()
    from unnest([{{ values | join(', ') }}]) as item
    where item is not null
    limit 1
)
{%- endmacro -%}
{%- macro duckdb__median_of(values) -%}list_median([{{ values | join(', ') }}]){%- endmacro -%}
