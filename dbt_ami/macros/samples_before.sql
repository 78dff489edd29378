{#-
  Of `hole` samples missing after a reading at `after_us`, how many would have been taken before
  `until_us`: those with after_us + j·T < until_us for j = 1 … hole.
-#}
{%- macro samples_before(until_us, after_us, hole, interval_ms) -%}
least(
    {{ hole }},
    {{ int_div('greatest(0, ' ~ until_us ~ ' - ' ~ after_us ~ ' - 1)', interval_ms ~ ' * 1000') }}
)
{%- endmacro -%}
