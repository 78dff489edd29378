{#- Whether `voltage_v` lies above the var `limit` (pu) of `nominal_v`; see below_pu. -#}
{%- macro above_pu(voltage_v, nominal_v, limit) -%}
({{ voltage_v }} > ({{ number_var(limit) }} + 5e-10) * {{ nominal_v }})
{%- endmacro -%}
