{#-
  Stored readings, copies included, as they are when a table function is called. DuckDB finds the
  name on the reader's search path, where the files of this moment are; what dbt was given names
  those of the build.
-#}
{%- macro live_readings() -%}
{{ return(adapter.dispatch('live_readings', 'ami')()) }}
{%- endmacro -%}
{%- macro default__live_readings() -%}{{ source('lake', 'raw_meter_readings') }}{%- endmacro -%}
{%- macro duckdb__live_readings() -%}
{%- do source('lake', 'raw_meter_readings') -%}
raw_meter_readings
{%- endmacro -%}
