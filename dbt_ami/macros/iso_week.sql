{#- ISO year and week of `date` as text, such as 2026-W13. -#}
{%- macro iso_week(date) -%}
{{ return(adapter.dispatch('iso_week', 'ami')(date)) }}
{%- endmacro -%}
{%- macro default__iso_week(date) -%}format_date('%G-W%V', {{ date }}){%- endmacro -%}
{%- macro duckdb__iso_week(date) -%}strftime({{ date }}, '%G-W%V'){%- endmacro -%}
