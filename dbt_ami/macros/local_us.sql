{#-
  Local wall clock of `timestamp` in the IANA zone `zone` as microseconds since 1970, read as if it
  were UTC: days and times of day come from it by division.
-#}
{%- macro local_us(timestamp, zone) -%}
{{ return(adapter.dispatch('local_us', 'ami')(timestamp, zone)) }}
{%- endmacro -%}
{%- macro default__local_us(timestamp, zone) -%}
unix_micros(timestamp(datetime({{ timestamp }}, {{ zone }}), 'UTC'))
{%- endmacro -%}
{%- macro duckdb__local_us(timestamp, zone) -%}
epoch_us(timezone({{ zone }}, {{ timestamp }}))
{%- endmacro -%}
