{#-
  Whether `voltage_v` lies below the var `limit` (pu) of `nominal_v`. The limit gives way by half a
  billionth of pu: 0.92 · 230 V is a hair above 211.6 V in binary, and 211.6 V is not below it.
-#}
{%- macro below_pu(voltage_v, nominal_v, limit) -%}
({{ voltage_v }} < ({{ number_var(limit) }} - 5e-10) * {{ nominal_v }})
{%- endmacro -%}
