{#-
  Length of the windows by which incremental models are restated, in s: what one file (DuckDB) or
  one partition (BigQuery) of the readings holds.
-#}
{%- macro window_s() -%}{{ return(adapter.dispatch('window_s', 'ami')()) }}{%- endmacro -%}
{%- macro default__window_s() -%}{{ return(86400) }}{%- endmacro -%}
{%- macro duckdb__window_s() -%}{{ return(3600) }}{%- endmacro -%}
