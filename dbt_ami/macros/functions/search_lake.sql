{#-
  Hook around the making of a function that names live_readings: DuckDB looks its tables up once
  then, too, and finds the lake of the build.
-#}
{%- macro search_lake(begins) -%}
{{ return(adapter.dispatch('search_lake', 'ami')(begins)) }}
{%- endmacro -%}
{%- macro default__search_lake(begins) -%}{%- endmacro -%}
{%- macro duckdb__search_lake(begins) -%}
{%- if begins -%}set search_path = '{{ target.schema }},lake'
{%- else -%}reset search_path
{%- endif -%}
{%- endmacro -%}
