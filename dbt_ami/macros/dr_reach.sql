{#-
  Whether `timestamp` is within `margin_s` of what dr_windows computes: of the windows that this run
  restates, or of the `span` (from, to) of a table function.
-#}
{%- macro dr_reach(timestamp, margin_s, span=none) -%}
{%- if span is none -%}{{ touched(timestamp, 'int_baseline_windows', margin_s=margin_s) }}
{%- else -%}
{{ timestamp }} >= {{ timestamp_of_us(epoch_us(span[0]) ~ ' - ' ~ margin_s * 1000000) }}
and {{ timestamp }} < {{ timestamp_of_us(epoch_us(span[1]) ~ ' + ' ~ margin_s * 1000000) }}
{%- endif -%}
{%- endmacro -%}
