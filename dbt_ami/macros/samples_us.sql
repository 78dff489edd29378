{#-
  Microseconds that `samples` samples of an interval of `interval_ms` take, in a type wide enough
  for any `seq`: some meters count in microseconds since 1970.
-#}
{%- macro samples_us(samples, interval_ms) -%}
{{ return(adapter.dispatch('samples_us', 'ami')(samples, interval_ms)) }}
{%- endmacro -%}
{%- macro default__samples_us(samples, interval_ms) -%}
(cast({{ samples }} as bignumeric) * {{ interval_ms }} * 1000)
{%- endmacro -%}
{%- macro duckdb__samples_us(samples, interval_ms) -%}
(cast({{ samples }} as hugeint) * {{ interval_ms }} * 1000)
{%- endmacro -%}
